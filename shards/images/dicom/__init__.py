"""DICOM radiographs as they are meant to be looked at: pixels only, nothing of the header."""
