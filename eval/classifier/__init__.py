"""Classifiers that were trained, with all that is needed to use them: files, preprocessing, calibration."""
