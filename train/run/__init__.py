"""How a run goes, what it reads and what it leaves: loop, data, checkpoints, monitors, model card."""
