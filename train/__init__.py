"""Momentum-contrast pretraining under DeepSpeed."""
