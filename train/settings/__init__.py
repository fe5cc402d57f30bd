"""The settings of pretraining, free of torch: sections, checks, recipes, the command line."""
