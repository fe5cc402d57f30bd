"""Self-supervised methods, one file each. A new one is a file here and an entry in :mod:`train.settings.methods`."""
