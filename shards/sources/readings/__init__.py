"""Releases whose images were read for the purpose, mostly with boxes or masks: one file a release."""
