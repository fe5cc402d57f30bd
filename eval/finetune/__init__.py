"""Fine-tuning encoders end to end."""
