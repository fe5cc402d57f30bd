"""The plan of a build in words, before anything is written: what was found, and about how large and how long it will
be, from packing a few dozen images in memory."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shards.base.randomness import generator
from shards.base.words import as_duration, as_size
from shards.format.blank import UNKNOWN
from shards.format.schema import SPLITS
from shards.images.refusal import HANGS
from shards.packing.image import LIMITS, pack_images
from shards.packing.plan import Plan
from shards.packing.refused import as_counts
from shards.packing.split import shared_patients
from shards.sources.record import Rejected

NUM_SAMPLED = 36
_SAMPLING_SECONDS = 8.0
_TAR_BYTES = 512 + 256  # header, and half a block of padding, of one image
_LISTED = 12  # labels


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a few dozen images of the source took and gave, one at a time in one process."""

    num_sampled: int
    rejected: tuple[Rejected, ...]
    image_bytes: float
    image_seconds: float


def estimate(plan: Plan, shards: Sequence[str]) -> Estimate:
    """Packs a few dozen images of the shards still to be written, in memory, for at most some seconds."""
    rows = np.concatenate([plan.rows[name] for name in shards] or [np.empty(0, np.int64)])
    chosen = rows[generator("plan", len(rows)).permutation(len(rows))[: NUM_SAMPLED + 1]].tolist()
    lengths: list[int] = []
    seconds: list[float] = []
    rejected: list[Rejected] = []
    begin = start = time.perf_counter()
    records, sizes = [plan.records[row] for row in chosen], [plan.sizes[row] for row in chosen]
    limits = replace(LIMITS, seconds=_SAMPLING_SECONDS)
    for result in pack_images(records, sizes, plan.packing, limits=limits):
        if isinstance(result, Rejected) and result.reason == HANGS:
            break  # the build gives it more time
        seconds.append(time.perf_counter() - start)
        start += seconds[-1]
        if isinstance(result, Rejected):
            rejected.append(result)
        else:
            lengths.append(len(result.data))
        if time.perf_counter() - begin > _SAMPLING_SECONDS and len(seconds) > 2:
            break
    warm = seconds[1:] or seconds  # the first one also loads the codecs
    return Estimate(
        num_sampled=len(seconds),
        rejected=tuple(rejected),
        image_bytes=float(np.mean(lengths)) if lengths else 0.0,
        image_seconds=float(np.mean(warm)) if warm else 0.0,
    )


def describe(plan: Plan, shards: Sequence[str], about: Estimate, *, workers: int, doom: str = "") -> str:
    """The plan in words, for ``shards`` still to be written; ``doom``: why the build must fail."""
    splits = Counter(record.split for record in plan.records)
    counts = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS if splits[split])
    refused = f", refused {len(plan.rejected):,}" if plan.rejected else ""
    num_left = sum(len(plan.rows[name]) for name in shards)
    num_patients = len({record.patient_id for record in plan.records})
    source_bytes = sum(size for size in plan.sizes if size is not None)
    share_packed = 1 - len(about.rejected) / max(1, about.num_sampled)
    output_bytes = num_left * (about.image_bytes + _TAR_BYTES) * share_packed
    seconds = num_left * about.image_seconds / max(1, min(workers, num_left))
    free = _free_bytes(plan.packing.output)
    spec = plan.packing.spec
    form = f"JPEG of quality {spec.quality}" if spec.format == "jpeg" else "PNG"
    form += f" of {spec.depth} bits" if spec.depth != 8 else ""
    lines = [
        f"plan: {plan.num_source:,} images of {num_patients:,} patients; {counts}{refused}",
        *(f"  {line}" for line in _found(plan)),
        f"  input: {_input(plan)}{as_size(source_bytes)} of images",
        f"  output: {plan.packing.output}, about {as_size(output_bytes)} to write in {len(shards):,} shards, "
        f"{spec.size} px {form}; {as_size(free)} free there",
        f"  time: about {as_duration(seconds)} with {workers} workers "
        f"({about.num_sampled} images tried: {1e3 * about.image_seconds:.3g} ms an image and worker)",
    ]
    if len(shards) < len(plan.rows):
        lines.append(f"  continues: {len(plan.rows) - len(shards):,} of {len(plan.rows):,} shards are finished")
    if plan.rejected:
        listed = as_counts(Counter(rejected.reason for rejected in plan.rejected))
        first = _first(plan.rejected)
        lines.append(f"  refused by the source's own lists: {len(plan.rejected):,} ({listed}); {first}")
    num_missing = sum(size is None for size in plan.sizes)
    if num_missing:
        example = next(record for record, size in zip(plan.records, plan.sizes, strict=True) if size is None)
        lines.append(f"  missing or unreadable: {num_missing:,}, such as {example.source_path}")
    if about.rejected:
        lines.append(f"  of the images tried, {len(about.rejected)} would be rejected; {_first(about.rejected)}")
    lines += [f"  note: {note}" for note in plan.notes]
    lines += [f"  warning: {warning}" for warning in [doom, *_warnings(plan)] if warning]
    if output_bytes > free:
        lines.append("  warning: that is more than there is room for; the build would stop, and continue with room")
    return "\n".join(lines)


def _input(plan: Plan) -> str:
    """Where the release is, unless its folder or zip may be called after a patient."""
    return "" if plan.packing.pseudonyms else f"{plan.packing.files.label}, "


def _found(plan: Plan) -> Iterator[str]:
    """Labels and views, where the source knows of any."""
    sets = Counter(id(record.labels) for record in plan.records)  # few occur, and the records share them
    labels = {id(record.labels): record.labels for record in plan.records}
    counts = {label: _values(label, labels, sets) for label in plan.packing.labels}
    if counts:
        order = sorted(counts, key=lambda label: -counts[label][1])
        told = [f"{label} {counts[label][1]:,} of {counts[label][0] + counts[label][1]:,}" for label in order]
        more = f" and {len(told) - _LISTED} more" if len(told) > _LISTED else ""
        blank = {plan.blanks[label] for label in order if counts[label][None]}
        blank |= {"unknown"} if any(counts[label][UNKNOWN] for label in order) else set()
        meaning = f"; a blank label is {' or '.join(sorted(blank))}" if blank else ""
        yield f"labels, present of known: {', '.join(told[:_LISTED])}{more}{meaning}"
    views = Counter(record.view for record in plan.records)
    if set(views) == {None}:
        yield "views: none is known, so lateral ones cannot be left out"
    else:
        strange = Counter(record.projection for record in plan.records if record.projection and not record.view)
        silent = views.pop(None, 0) - strange.total()
        told = [f"{view} {count:,}" for view, count in sorted(views.items(), key=str)]
        told += [f"not said {silent:,}"] * bool(silent)
        if strange:
            words = ", ".join(f"{word} {count:,}" for word, count in strange.most_common(4))
            told.append(f"neither frontal nor lateral {strange.total():,} ({words})")
        yield f"views: {', '.join(told)}"


def _values(label: str, labels: Mapping[int, Mapping[str, int]], sets: Mapping[int, int]) -> Counter[int | None]:
    """Images by what is said of a label; None where it is blank."""
    counts: Counter[int | None] = Counter()
    for key, count in sets.items():
        counts[labels[key].get(label)] += count
    return counts


def _warnings(plan: Plan) -> Iterator[str]:
    num_unknown = sum(not record.is_patient_known for record in plan.records)
    if num_unknown:
        yield (
            f"{num_unknown:,} images name no patient, and each counts as a patient of its own: one person's images can "
            "be on both sides of a split, and intervals take them as independent (table: name --patient-column)"
        )
    shared = shared_patients(plan.records)
    if shared:
        yield f"{len(shared):,} patients are in several splits, which the release itself says"
    if plan.links:
        first, other = (plan.records[row].source_path for row in plan.links[0])
        yield (
            f"{len(plan.links):,} images are files that have another name too, by a link, such as {first} and {other}, "
            "and count twice; remove the links if they are not meant"
        )
    splits = {record.split for record in plan.records}
    if "test" not in splits:
        tested = "eval will test on valid" if "valid" in splits else "eval will need one; --split 70/10/20 draws one"
        yield f"no test split: {tested}"


def _first(rejected: Sequence[Rejected]) -> str:
    return f"first: {rejected[0].source_path}: {rejected[0].message}"


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
