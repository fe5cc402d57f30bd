"""The registry of readouts: what each is called, how it is made, and what amounts of labels mean to it. Free of torch.

A readout of frozen features is one module of this folder (see :mod:`eval.readouts`) and one entry here; one with
settings of its own also has a section of :class:`eval.grid.config.GridConfig`, and a command for them.
"""

from dataclasses import dataclass
from typing import Literal

Inputs = Literal["both", "image", "text"]


@dataclass(frozen=True, kw_only=True)
class Readout:
    """``heading`` and ``phrase`` name it, in a sentence with its article.

    Of frozen features: ``module`` of this folder has its ``fit``, and ``reads`` are the keywords that it takes. Others
    train a network: a classifier of images and texts is given the ``inputs`` that are named.

    ``section`` of :class:`eval.grid.config.GridConfig` holds its settings. ``by_shots``: amounts of labels are images a
    class, and not shares of what there is.
    """

    heading: str
    phrase: str
    module: str | None = None
    reads: tuple[str, ...] = ()
    section: str | None = None
    inputs: Inputs | None = None
    by_shots: bool = False

    @property
    def is_frozen(self) -> bool:
        """Whether it reads features of an encoder that is left as it is."""
        return self.module is not None

    @property
    def the_phrase(self) -> str:
        """``the linear probe``; ``fine-tuning`` has no article."""
        return f"the {self.phrase[2:]}" if self.phrase.startswith("a ") else self.phrase

    def amount(self, fraction: float) -> str:
        """``1 %``, or ``5 a class``."""
        return f"{fraction:g} a class" if self.by_shots else f"{100 * fraction:g} %"


READOUTS = {
    "linear": Readout(
        heading="Linear probe", phrase="a linear probe", module="linear", reads=("seed", "keep"), section="linear"
    ),
    "knn": Readout(
        heading="Nearest neighbours",
        phrase="nearest neighbours",
        module="knn",
        reads=("num_neighbours", "temperature"),
        section="knn",
    ),
    "few-shot": Readout(
        heading="Few-shot",
        phrase="few-shot probes",
        module="linear",
        reads=("seed", "keep"),
        section="linear",
        by_shots=True,
    ),
    "finetune": Readout(heading="Fine-tuning", phrase="fine-tuning", section="finetune"),
    "multimodal": Readout(
        heading="Image and indication",
        phrase="a classifier of image and indication",
        section="multimodal",
        inputs="both",
    ),
    "multimodal-image": Readout(
        heading="Image alone", phrase="a classifier of the image alone", section="multimodal", inputs="image"
    ),
    "multimodal-text": Readout(
        heading="Indication alone", phrase="a classifier of the indication alone", section="multimodal", inputs="text"
    ),
}
