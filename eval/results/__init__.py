"""Cells to tables: comparisons, subgroups, the headline."""
