"""What encoders and classifiers make of images that nobody has packed, or of a dataset."""
