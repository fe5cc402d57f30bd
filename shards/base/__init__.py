"""What every package stands on: errors, files written whole, locks, facts of the machine, settings in and out."""
