"""What a kept classifier says of images: ``moco-cxr predict``.

Legend: N images, L labels.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from eval.classifier.kept import Kept
from eval.inference.config import PredictConfig
from eval.inference.explain import Explanations
from eval.inference.forward import Floats, Outcome, through
from eval.inference.images import Given, GivenImages
from eval.inference.model import load_classifier
from eval.inference.rows import KEYS, Tally, key_columns, spread, warn_of_other_specs
from eval.inference.tables import TABLES, check_output, table_file, write_table
from eval.inference.texts import ImageTexts
from eval.readouts.registry import READOUTS
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError

_UNCALIBRATED, _EXPLAINED = "uncalibrated", "-explained"
_OWN = (*KEYS, _UNCALIBRATED)


class Predictions:
    """Rows to come, a batch at a time: ``schema`` says of what. All is opened and checked first.

    One row an image, in the order of :class:`eval.inference.images.GivenImages`: ``input``, ``key`` and ``path``;
    ``refused`` and ``message``, the reason and words, where it could not be read; a column for each label with the
    probability, and, where a specificity is asked for, ``LABEL positive`` and ``LABEL threshold``, which positives
    exceed; ``uncalibrated``, the labels whose probabilities are as the network gives them, because too few validation
    images have them.

    Args:
        explained: folder for pictures, where the settings ask for some.

    Raises:
        InputError: no such model, no image, texts that the model needs and that are not there, an output of another
            kind, or pictures of a model that has none.
    """

    def __init__(self, config: PredictConfig, explained: Path | None = None) -> None:
        self.config = config
        self.images = GivenImages(config.input)
        self.kept = load_classifier(config.model)
        self.tally = Tally(self.images)
        self._texts = self._needed_texts()
        self._thresholds = None if config.specificity is None else self._checked_thresholds(config.specificity)
        self._explanations = None
        if config.explain:
            if explained is None:
                raise InputError("--explain: pictures go beside an output; give one")
            self._explanations = Explanations(
                self.kept, explained, num_images=config.explain, label=config.explain_label, centres=self._centres()
            )
        elif config.explain_label is not None:
            raise InputError("--explain-label: of no picture; give --explain, how many are wanted")
        self.schema = self._schema()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows.

        Raises:
            InputError: an absent device, or no image that could be read, once all have been written.
        """
        kept, config = self.kept, self.config
        for outcome in through(
            kept.network,
            self.images,
            image=kept.image,
            views=kept.views if kept.reads_images else None,
            beside=None if kept.read_texts is None else self._beside,
            device=config.device,
            batch_size=config.batch_size,
            workers=config.workers,
            title="predictions",
        ):
            if outcome.images:
                yield self._batch(outcome)
        if self._explanations is not None:
            self._explanations.write()

    def notes(self) -> list[str]:
        """What is to be said once all is written."""
        kept, lines = self.kept, self.tally.notes()
        if self._texts is not None and self._texts.num_without:
            lines.append(f"{self._texts.num_without:,} images have no text; the model saw the image alone")
        uncalibrated = self._uncalibrated()
        num_valid = len(kept.calibration.logits)
        if uncalibrated:
            why = f"{num_valid:,} validation images say too little of them" if num_valid else "no validation images"
            lines.append(f"uncalibrated: {'; '.join(uncalibrated)} ({why})")
        if len(uncalibrated) < len(kept.labels):
            lines.append(f"calibrated on {num_valid:,} validation images")
        for label, threshold, count in zip(
            kept.labels, self._thresholds or (), kept.calibration.num_negatives(), strict=False
        ):
            told = "none, as no validation image is without it" if threshold is None else f"{threshold:.4g}"
            lines.append(f"{label}: threshold at specificity {self.config.specificity:g}: {told} ({count:,} negatives)")
        if self._explanations is not None:
            lines.append(f"pictures: {self._explanations.told()}")
        return lines

    def _needed_texts(self) -> ImageTexts | None:
        config, needs = self.config, READOUTS[self.kept.readout].inputs in ("both", "text")
        if not needs:
            if config.texts is not None:
                raise InputError(f"--texts {config.texts}: the model reads no texts; leave it out")
            return None
        if config.texts is None and not self.images.has_texts:
            raise InputError(
                f"--texts: not given, but the model reads indications; give a list with the columns "
                f"{config.path_column} and {config.text_column}"
            )
        return ImageTexts(config.texts, path_column=config.path_column, text_column=config.text_column)

    def _beside(self, images: list[Given]) -> tuple[Tensor, ...]:
        assert self.kept.read_texts is not None
        return self.kept.read_texts([None if self._texts is None else self._texts.of(image) for image in images])

    def _checked_thresholds(self, specificity: float) -> list[float | None]:
        """As probabilities (L,)."""
        logits = self.kept.calibration.thresholds(specificity)
        if not any(each is not None for each in logits):
            raise InputError(
                f"--specificity {specificity:g}: the model has no validation images, from which a threshold would be; "
                "leave it out"
            )
        filled = np.array([[0.0 if each is None else each for each in logits]], dtype=np.float32)
        found = self.kept.calibration.probabilities(filled)[0].tolist()
        return [None if each is None else value for each, value in zip(logits, found, strict=True)]

    def _centres(self) -> list[float]:
        """The logit (L,) that pictures are for or against: of the threshold, or of a probability of one half."""
        specificity = self.config.specificity
        logits = (
            [None] * len(self.kept.labels) if specificity is None else self.kept.calibration.thresholds(specificity)
        )
        return [
            shift if each is None else each for each, shift in zip(logits, self.kept.calibration.shifts, strict=True)
        ]

    def _uncalibrated(self) -> list[str]:
        pairs = zip(self.kept.labels, self.kept.calibration.temperatures, strict=True)
        return [label for label, temperature in pairs if temperature is None]

    def _schema(self) -> pa.Schema:
        fields = [pa.field(name, pa.string()) for name in KEYS]
        for label in map(_column_of, self.kept.labels):
            fields.append(pa.field(label, pa.float32()))
            if self._thresholds is not None:
                fields += [pa.field(f"{label} positive", pa.bool_()), pa.field(f"{label} threshold", pa.float32())]
        fields.append(pa.field(_UNCALIBRATED, pa.string()))
        return pa.schema(fields, metadata={"moco_cxr": json.dumps(_about(self.kept))})

    def _batch(self, outcome: Outcome) -> pa.RecordBatch:
        images, kept = outcome.images, self.kept
        self.tally.count(images)
        probabilities: Floats = np.zeros((0, len(kept.labels)), dtype=np.float32)
        if outcome.rows:
            probabilities = kept.calibration.probabilities(outcome.values)
            if self._explanations is not None:
                read = [images[row] for row in outcome.rows]
                self._explanations.note(read, outcome.values, probabilities)
        columns = key_columns(images)
        for number, label in enumerate(map(_column_of, kept.labels)):
            values = spread(probabilities[:, number].tolist(), outcome.rows, len(images))
            columns[label] = values
            if self._thresholds is not None:
                threshold = self._thresholds[number]
                columns[f"{label} positive"] = [
                    None if value is None or threshold is None else value > threshold for value in values
                ]
                columns[f"{label} threshold"] = [threshold] * len(images)
        columns[_UNCALIBRATED] = ["; ".join(self._uncalibrated()) or None] * len(images)
        return pa.record_batch([pa.array(columns[field.name], field.type) for field in self.schema], schema=self.schema)


def run_predict(config: PredictConfig, output: Path) -> list[str]:
    """Writes the predictions, and returns what is to be said of them.

    Raises:
        InputError: see :class:`Predictions`; nothing could be read, of which the output tells why.
    """
    explained = _checked_outputs(config, output)
    predictions = Predictions(config, explained)
    warn_of_other_specs(predictions.images, predictions.kept.image, what="the model")
    with table_file(output, predictions.schema) as write:
        for batch in predictions.batches():
            write(batch)
    predictions.tally.require_some()
    return predictions.notes()


def predicted(config: PredictConfig, output: Path | None) -> pa.Table:
    """The predictions in memory; written as well where there is an output. Raises as :func:`run_predict`."""
    explained = None if output is None else _checked_outputs(config, output)
    predictions = Predictions(config, explained)
    warn_of_other_specs(predictions.images, predictions.kept.image, what="the model")
    table = write_table(output, predictions.schema, predictions.batches())
    predictions.tally.require_some()
    return table


def _checked_outputs(config: PredictConfig, output: Path) -> Path:
    """The folder of pictures beside the output, both checked."""
    check_output(output, TABLES, read=(*config.input, config.texts))
    explained = output.with_name(f"{output.stem}{_EXPLAINED}")
    for given in config.input if config.explain else ():
        if Path(given).resolve() in explained.resolve().parents:
            raise InputError(
                f"--output {output}: its pictures, {explained.name}, would lie in --input {given}, and the next "
                "predict would read them; give a folder outside it"
            )
    return explained


def _column_of(label: str) -> str:
    return f"label {label}" if label in _OWN else label


def _about(kept: Kept) -> dict[str, Any]:
    """What a Parquet file says of the model."""
    return {
        "model": str(kept.folder),
        "readout": kept.readout,
        "encoder": None if kept.encoder is None else to_mapping(kept.encoder),
        "image": to_mapping(kept.image),
        "views": to_mapping(kept.views),
        "temperatures": dict(zip(kept.labels, kept.calibration.temperatures, strict=True)),
        "trained": kept.trained,
    }
