"""What the tables, figures and pages of a comparison call things, and how they print numbers: three decimals and no
leading zero, as the field has it."""

from typing import Literal

from eval.stats.interval import Interval

Inputs = Literal["both", "image", "text"]
# Readouts of the multimodal classifier, and what each of them is given.
MULTIMODAL: dict[str, Inputs] = {"multimodal": "both", "multimodal-image": "image", "multimodal-text": "text"}

MACRO = "macro"
MICRO = "micro"  # all labels' studies as if of one label: multimodal readouts have it, as their literature reports it
FEW_SHOT = "few-shot"
NO_IMAGE = "no-image"  # the start of what reads texts alone


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


def amount(readout: str, fraction: float) -> str:
    """``1 %``, or for few-shot readouts ``5 a class``."""
    return f"{fraction:g} a class" if readout == FEW_SHOT else f"{100 * fraction:g} %"


def readout_words(readout: str) -> str:
    """A readout's name in words."""
    words = {
        "linear": "Linear probe",
        "finetune": "Fine-tuning",
        "knn": "Nearest neighbours",
        FEW_SHOT: "Few-shot",
        "multimodal": "Image and indication",
        "multimodal-image": "Image alone",
        "multimodal-text": "Indication alone",
    }
    return words[readout]


def readout_phrase(readout: str, *, article: str = "a") -> str:
    """A readout in a sentence, such as ``a linear probe``."""
    words = {
        "linear": f"{article} linear probe",
        "finetune": "fine-tuning",
        "knn": "nearest neighbours",
        FEW_SHOT: "few-shot probes",
        "multimodal": f"{article} classifier of image and indication",
        "multimodal-image": f"{article} classifier of the image alone",
        "multimodal-text": f"{article} classifier of the indication alone",
    }
    return words[readout]
