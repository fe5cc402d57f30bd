"""A classifier that reads the image and the report's indication."""
