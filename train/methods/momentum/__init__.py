"""The momentum copy: its update, the dealing out of its images, the copy itself."""
