"""Result files to a page, plots, and the comparison of two."""
