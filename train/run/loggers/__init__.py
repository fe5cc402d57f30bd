"""Where the lines of metrics go: one module a logger, behind one contract."""
