"""The loader beside its peers."""
