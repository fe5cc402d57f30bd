"""Many processes as one: the world, its stop signals, the watchdog."""
