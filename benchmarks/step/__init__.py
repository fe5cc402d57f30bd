"""The whole pretraining step beside a plain one and beside peers."""
