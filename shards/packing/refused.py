"""Whether a build rejects more images than ``--max-rejected`` allows, at its end or by what its plan knows already."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from shards.base.errors import InputError
from shards.base.words import as_called
from shards.packing.config import BuildConfig
from shards.packing.plan import Plan
from shards.sources.record import Rejected

_MISSING = "missing or unreadable"


class TooManyRejected(InputError):
    """More images were rejected than ``--max-rejected`` allows; what was packed is kept, but is no dataset yet."""


def refuse_too_many(rejected: pa.Table, num_source: int, config: BuildConfig) -> None:
    """Fails a build whose images have all been tried.

    Raises:
        TooManyRejected: ``rejected`` has more rows than are allowed.
    """
    if _is_allowed(len(rejected), num_source, config):
        return
    listed = f"each with its reason: {as_called(f'shards stats {config.output} --rejected')}"
    first = f"first: {rejected['source_path'][0]}: {rejected['message'][0]}"
    if len(rejected) == num_source:
        raise TooManyRejected(f"{_input(config)}: none of its {num_source:,} images could be packed; {first}; {listed}")
    raise TooManyRejected(
        f"--max-rejected {config.max_rejected:g}: {len(rejected):,} of {num_source:,} images "
        f"({len(rejected) / num_source:.2%}) were rejected ({as_counts(reasons_of(rejected))}); {first}; {listed}. If "
        "these may be left out, repeat the command with a higher --max-rejected: nothing is packed again. If not, mend "
        "the source and build into a new folder"
    )


def bound_to_fail(plan: Plan, tried: Sequence[Rejected], config: BuildConfig) -> str:
    """Why a build must fail by what is known before it: the source's own rejections, files that are missing, and
    ``tried``, the rejections among images that were tried. Empty where it need not.
    """
    absent = {record.source_path for record, size in zip(plan.records, plan.sizes, strict=True) if size is None}
    broken = [each for each in tried if each.source_path not in absent]
    num_refused = len(plan.rejected) + len(absent) + len(broken)
    if _is_allowed(num_refused, plan.num_source, config):
        return ""
    reasons = Counter(each.reason for each in [*plan.rejected, *broken]) + Counter({_MISSING: len(absent)})
    known = [*plan.rejected, *broken]
    first = f"{known[0].source_path}: {known[0].message}" if known else f"{min(absent)}: is missing or cannot be read"
    told = (
        f"{num_refused:,} of {plan.num_source:,} images ({num_refused / plan.num_source:.2%}) are refused already "
        f"({as_counts(reasons)}), over --max-rejected {config.max_rejected:g}: the build will fail"
    )
    if num_refused == plan.num_source:
        remedy = f"check --source and {_input(config)}"
    else:
        remedy = "mend them, or give a higher --max-rejected if they may be left out"
    return "; ".join([told, f"first: {first}", *plan.causes, remedy])


def refuse_bound_to_fail(why: str) -> None:
    """Stops a build before anything is packed where :func:`bound_to_fail` has said why.

    Raises:
        InputError: it has.
    """
    if why:
        raise InputError(f"{why}; nothing was packed")


def reasons_of(rejected: pa.Table) -> dict[str, int]:
    """How many images were rejected for each reason."""
    return dict(sorted(Counter(rejected["reason"].to_pylist()).items()))


def as_counts(reasons: dict[str, int]) -> str:
    """Reasons with their numbers, in words."""
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))


def _is_allowed(num_rejected: int, num_source: int, config: BuildConfig) -> bool:
    return num_rejected < num_source and num_rejected / num_source <= config.max_rejected


def _input(config: BuildConfig) -> str:
    """The option, without its value where that may be a patient's name."""
    return "--input" if config.pseudonymise else f"--input {config.input}"
