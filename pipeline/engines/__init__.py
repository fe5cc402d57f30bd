"""Pixels to views: the engines behind :func:`pipeline.loader.build_loader`."""
