"""Releases whose labels were taken from radiology reports: one file a release."""
