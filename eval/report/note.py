"""The note below the tables of a comparison: how to read them, and what they do not say."""

from collections.abc import Sequence

from eval.results.table import Comparison, StartResult
from eval.words import MACRO, MICRO, decimal


def note(comparisons: Sequence[Comparison], *, is_narrow: bool = False) -> str:
    """How to read the tables; narrow ones star what is sure and do not count images."""
    rows = [row for one in comparisons for row in one.rows]
    draws = max(len(row.draws) for row in rows)
    replicates = min(one.num_replicates - max(one.num_dropped.values(), default=0) for one in comparisons)
    unit = "studies" if any(one.protocol["name"] == "published" for one in comparisons) else "patients"
    level = comparisons[0].level
    lines = [
        f"{_draws_words(draws)}{_over_encoders(comparisons)}. Intervals: {replicates:,} resamples of test {unit}, the "
        "same for all columns.",
        "They hold the encoders and draws fixed, so they do not speak of another pretraining run.",
        *_spreads(comparisons),
        *_folds(comparisons),
        *_layers(comparisons),
    ]
    if any(row.difference for row in rows) or any(one.inputs for one in comparisons):
        p_below = f"the paired difference has p < {1 - level:.2g} after Holm's correction"
        sure = f"{p_below} for all differences of the comparison"
        lines.append(f"*: {sure}." if is_narrow else f"better, worse: {sure}; unclear: it does not.")
    if not is_narrow and any(draw.is_extended for row in rows for draw in row.draws):
        lines.append("* a draw held under two images of one class and was extended by further patients.")
    if any(row.label == MACRO for row in rows):
        lines.append(f"{MACRO}: the mean over the labels, on the same resamples.")
    if any(row.label == MICRO for row in rows):
        lines.append(f"{MICRO}: all labels' studies together, as if of one label.")
    assumed = (sentence for one in comparisons for sentence in (one.blanks, one.unknown_patients))
    lines += filter(None, dict.fromkeys(assumed))
    lines += [
        f"Caution: {one.num_repeated:,} test images of {one.dataset} show pictures that training images show too, if "
        "at another size or quality; all figures are better for it than those of new patients."
        for one in comparisons
        if one.num_repeated
    ]
    lines += [
        sentence
        for one in comparisons
        for name, start in one.starts.items()
        if (sentence := _foreign(name, start, one.dataset) or _exposure(name, start, one.dataset))
    ]
    return "\n".join(lines)


def _folds(comparisons: Sequence[Comparison]) -> list[str]:
    numbers = sorted({one.protocol["folds"] for one in comparisons if one.protocol.get("folds")})
    if not numbers:
        return []
    return [
        f"Cross-validated in {' and '.join(map(str, numbers))} folds of patients: every image is scored once, by a "
        "model that has not seen its patient, and compared with images of the same model; figures are means of folds, "
        "weighed by positives, and ECE is of all folds together. Labelled images are counted in the mean fold."
    ]


def _layers(comparisons: Sequence[Comparison]) -> list[str]:
    read = {name: start.layers for one in comparisons for name, start in one.starts.items() if start.layers}
    if not read:
        return []
    listed = "; ".join(f"{name} {', '.join(layers)}" for name, layers in read.items())
    return [f"Frozen readouts read means over places of these layers, joined; of the last, its own features: {listed}."]


def _foreign(name: str, start: StartResult, dataset: str) -> str:
    """What goes into a model of others; empty of our own."""
    if not start.about:
        return ""
    return (
        f"{name} is {start.sources[0]}: {start.about}. Caution: what it was trained on is not known here; where that "
        f"was images of {dataset}, its figures are not those of new patients."
    )


def _exposure(name: str, start: StartResult, dataset: str) -> str:
    """What a start's pretraining saw of the test set; empty where nothing is known."""
    found = start.exposure
    if found is None:
        return (
            f"Caution: pretraining of {name} took images of the splits that {start.num_seen:,} test images of "
            f"{dataset} are in; its figures are not those of new patients."
            if start.num_seen
            else ""
        )
    if not found.num_patients:
        return (
            f"Pretraining of {name} saw none of the {found.of_images:,} test images of {dataset}, and no other image "
            f"of their {found.of_patients:,} patients."
        )
    return (
        f"Caution: pretraining of {name} saw {_of(found.num_images, found.of_images)} test images of {dataset}, and "
        f"images of {_of(found.num_patients, found.of_patients)} test patients; its figures are not those of new "
        "patients."
    )


def _of(number: int, total: int) -> str:
    return f"{number:,} of the {total:,} ({number / total:.1%})"


def _draws_words(num_draws: int) -> str:
    return "One draw of training labels" if num_draws == 1 else f"Mean over up to {num_draws} draws of training labels"


def _spreads(comparisons: Sequence[Comparison]) -> list[str]:
    """How far the encoders of one start lie apart: all that is known of another run."""
    spreads: dict[str, float] = {}
    for one in comparisons:
        for row in one.rows:
            if len(one.starts[row.start].hashes) > 1:
                means = [sum(values) / len(values) for values in zip(*(draw.auroc for draw in row.draws), strict=True)]
                spreads[row.start] = max(spreads.get(row.start, 0.0), max(means) - min(means))
    if not spreads:
        return []
    told = ", ".join(f"{name} {decimal(spread, '')}" for name, spread in spreads.items())
    return [f"AUROC of one start's encoders, each averaged over the draws, lies apart by up to: {told}."]


def _over_encoders(comparisons: Sequence[Comparison]) -> str:
    counts = {name: len(start.hashes) for one in comparisons for name, start in one.starts.items()}
    return "".join(f" and over {count} encoders of {name}" for name, count in counts.items() if count > 1)
