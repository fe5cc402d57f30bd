"""One machine's ranks, and a prediction for more."""
