"""What a run reads and leaves: data, checkpoints, monitors, model card."""
