"""A whole comparison: its file, its plan, and running it cell by cell."""
