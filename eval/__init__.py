"""Measuring an encoder: readouts at label fractions, AUROC with confidence intervals, tables, a page."""
