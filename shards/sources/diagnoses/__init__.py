"""Releases whose labels are diagnoses that were made by other means than the image: one file a release."""
