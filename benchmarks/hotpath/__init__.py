"""The hot path: momentum update, queue, InfoNCE."""
