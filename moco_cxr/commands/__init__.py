"""Commands that are no package of their own, each a module with ``main``."""
