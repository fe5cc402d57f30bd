"""Metrics, their bootstrap over patients, DeLong's test, Holm's rule."""
