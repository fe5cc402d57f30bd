"""Measured throughput of each stage, above all the loader and the MoCo hot path."""
