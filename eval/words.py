"""What the tables, figures and pages of a comparison call things, and how they print numbers: three decimals and no
leading zero, as the field has it."""

from collections.abc import Mapping
from typing import Any, Literal

from eval.stats.interval import Interval

Metric = Literal["auroc", "average_precision", "sensitivity", "ece"]  # of which there are tables
Format = Literal["text", "markdown", "latex", "csv"]  # of tables
MACRO = "macro"
MICRO = "micro"  # all labels' studies as if of one; classifiers of images and texts have it, as in their literature
NO_IMAGE = "no-image"  # the start of what reads texts alone


def tested_text(protocol: Mapping[str, Any]) -> str:
    """Which images are tested: ``split test``, ``5 folds of all splits``."""
    folds = protocol.get("folds", 0)
    return f"{folds} folds of all splits" if folds else f"split {protocol['test_split']}"


def interval_text(interval: Interval, *, sign: str = "") -> str:
    """``.800 [.760, .840]``."""
    estimate, low, high = (decimal(value, sign) for value in (interval.estimate, interval.low, interval.high))
    return f"{estimate} [{low}, {high}]"


def p_text(value: float) -> str:
    """A p-value as printed: three decimals, and no zero."""
    return "<.001" if value < 0.001 else decimal(value, "")


def decimal(value: float, sign: str = "") -> str:
    """``.800``, ``1.000``."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:{sign}.3f}"
