"""Phantom chest X-rays: procedural radiographs for trying the whole chain without patient data."""
