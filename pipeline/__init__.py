"""From packed shards to batches of augmented views on the device."""
