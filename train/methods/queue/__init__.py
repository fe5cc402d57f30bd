"""Negatives from past keys: the queue, and the loss against it."""
