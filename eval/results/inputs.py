"""What each input of the multimodal classifier adds: both inputs against the image alone and the text alone.

Legend: S studies of the test set, D cells (draws and encoders), L labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eval.readouts.registry import READOUTS, Inputs
from eval.results.compare import Group, Statistics
from eval.results.table import InputRow
from eval.stats.bootstrap import bootstrap_table
from eval.stats.interval import holm
from eval.study.cells import Cell
from eval.study.studies import ScoredStudies
from eval.words import MACRO, NO_IMAGE

_BY_INPUTS = {readout.inputs: name for name, readout in READOUTS.items()}
_ALONE: tuple[Inputs, ...] = ("image", "text")


def compare_inputs(
    cells: Mapping[Group, Mapping[str, Sequence[Cell]]], test: ScoredStudies, *, statistics: Statistics
) -> list[InputRow]:
    """Rows of AUROC, label by label and of their mean, for each fraction and start of which there are both inputs and
    one of them alone; paired on the same resamples. Holm's correction is over all of these rows."""
    rows: list[InputRow] = []
    for (readout, fraction), by_start in cells.items():
        if READOUTS[readout].inputs != "both":
            continue
        for start, both in by_start.items():
            alone = {
                inputs: cells.get((_BY_INPUTS[inputs], fraction), {}).get(NO_IMAGE if inputs == "text" else start, [])
                for inputs in _ALONE
            }
            alone = {inputs: several for inputs, several in alone.items() if several}
            if alone:
                rows += _rows(fraction, start, both, alone, test, statistics)
    corrected = holm(dict(enumerate(row.p_value for row in rows))) if rows else {}
    return [replace(row, p_holm=corrected[number]) for number, row in enumerate(rows)]


def _rows(
    fraction: float,
    start: str,
    both: Sequence[Cell],
    alone: Mapping[Inputs, Sequence[Cell]],
    test: ScoredStudies,
    statistics: Statistics,
) -> list[InputRow]:
    table = bootstrap_table(
        test.labels,
        {
            inputs: np.stack([test.scores(cell) for cell in several])
            for inputs, several in {"both": both, **alone}.items()
        },
        test.clusters,
        label_names=test.names,
        folds=test.folds,
        num_replicates=statistics.num_replicates,
        level=statistics.level,
        seed=statistics.seed,
    )
    rows = []
    for label in [MACRO, *test.names] if len(test.names) > 1 else test.names:
        resampled = table.macro() if label == MACRO else table.of(label)
        for inputs in alone:
            p_value = resampled.p_value("both", inputs)
            rows.append(
                InputRow(
                    fraction=fraction,
                    label=label,
                    start=start,
                    alone=inputs,
                    auroc=resampled.difference("both", inputs),
                    p_value=p_value,
                    p_holm=p_value,  # until all are known
                )
            )
    return rows
