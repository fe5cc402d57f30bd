"""Self-supervised pretraining: from batches of views to an exported encoder. The entry is ``train/pretrain.py``."""
