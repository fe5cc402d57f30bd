"""Encoders for other software: files of other formats, and folders as the Hugging Face hub wants them."""
