"""Frozen models of others beside our own starts: one module a kind, all behind one contract."""
