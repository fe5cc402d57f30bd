"""What every package stands on: errors, files written whole, randomness by address, settings in and out."""
