"""Looking into what was packed: verify, stats, preview."""
