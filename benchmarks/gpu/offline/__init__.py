"""The prepared run for a machine without network: one file that holds the project, what it needs, and the command."""
