"""Measuring an encoder: probes at label fractions on frozen features, AUROC with confidence intervals, tables."""
