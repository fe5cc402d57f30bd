"""The statistics of evaluations behind one door: metrics, their bootstrap over patients, DeLong's test, Holm's rule."""

from eval.bootstrap import Bootstrap, BootstrapTable, bootstrap, bootstrap_table
from eval.delong import DeLong, delong
from eval.interval import Interval, holm, replicates_for_holm
from eval.metrics import (
    METRICS,
    Metric,
    Reliability,
    auroc,
    average_precision,
    calibration_error,
    reliability,
    sensitivity_at_specificity,
)

__all__ = [
    "METRICS",
    "Bootstrap",
    "BootstrapTable",
    "DeLong",
    "Interval",
    "Metric",
    "Reliability",
    "auroc",
    "average_precision",
    "bootstrap",
    "bootstrap_table",
    "calibration_error",
    "delong",
    "holm",
    "reliability",
    "replicates_for_holm",
    "sensitivity_at_specificity",
]
