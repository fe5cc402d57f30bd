"""Checkpoints as they lie on disk: folders of tensors that are there whole or not at all, and where a run was."""
