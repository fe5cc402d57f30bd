"""Records to shards: plan, build, the backends that run it."""
