"""One supervised loop: what fine-tuning and the multimodal classifier share."""
