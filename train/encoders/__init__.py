"""Networks that become encoders: built, started from weights, normalised, saved."""
