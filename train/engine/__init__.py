"""DeepSpeed, precision and optimisers."""
