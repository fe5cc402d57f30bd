"""Datasets elsewhere: addresses, transfers, the cache."""
