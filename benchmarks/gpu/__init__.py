"""Everything that waits for a GPU, in one prepared run: checks first, then figures beside their targets."""
