"""Work on files from outside, in processes that may die of it."""
