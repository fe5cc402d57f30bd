"""NVIDIA DALI: its graph, what feeds it, and the engine."""
