"""Offline packing of chest X-ray releases into tar shards with a Parquet index, and reading them back by row."""
