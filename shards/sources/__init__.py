"""The releases that can be packed: one file a source, all listed in :mod:`shards.sources.registry`."""
