"""Texts as numbers, with counts of what was lost on the way: cut, empty, unknown.

Legend: N texts, T tokens of the longest.
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.multimodal.tokenizer import TextTokenizer
from shards.base.atomic import atomic_file
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import parse_json, read_arrays
from shards.index import ShardIndex

TEXT_COLUMN = "indication"
_FOREIGN = 0.5  # share of unknown tokens from which a text is taken for another language


@dataclass(frozen=True, kw_only=True)
class TextCounts:
    """Of N texts: how many are empty or none, were cut, are mostly unknown to the vocabulary; and of all their tokens
    before cutting, how many are unknown."""

    num_texts: int
    num_empty: int
    num_truncated: int
    num_foreign: int
    num_tokens: int
    num_unknown: int


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """``ids`` (N, T) int32, padded: first sign, words, last sign; ``lengths`` (N,): how many of them count, 1 for an
    empty text, of which only the first sign is left."""

    ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    counts: TextCounts


def texts_of(index: ShardIndex) -> list[str | None]:
    """The indications of a selection.

    Raises:
        InputError: the index has no such column.
    """
    if TEXT_COLUMN not in index.table.column_names:
        folders = ", ".join(map(str, index.folders))
        raise InputError(
            f"--data {folders}: its index has no column {TEXT_COLUMN!r}; pack it with the reports of the release "
            "(--reports) or the column of a table (--indication-column)"
        )
    return list(index.column(TEXT_COLUMN))


def tokenize(texts: Sequence[str | None], tokenizer: TextTokenizer, *, max_tokens: int) -> Tokens:
    """Numbers of texts; warns where texts are mostly unknown words."""
    present = [place for place, text in enumerate(texts) if text is not None and text.strip()]
    found = tokenizer([texts[place] or "" for place in present])
    lengths = np.ones(len(texts), dtype=np.int64)
    kept = [ids[: max_tokens - 2] for ids in found]
    for place, ids in zip(present, kept, strict=True):
        lengths[place] = len(ids) + 2 if ids else 1
    rows = np.full((len(texts), int(lengths.max(initial=1))), tokenizer.padding, dtype=np.int32)
    rows[:, 0] = tokenizer.first
    for place, ids in zip(present, kept, strict=True):
        if ids:
            rows[place, 1 : len(ids) + 2] = [*ids, tokenizer.last]
    unknown = [ids.count(tokenizer.unknown) for ids in found]
    counts = TextCounts(
        num_texts=len(texts),
        num_empty=int((lengths == 1).sum()),
        num_truncated=sum(len(ids) > max_tokens - 2 for ids in found),
        num_foreign=sum(bad > _FOREIGN * len(ids) for bad, ids in zip(unknown, found, strict=True)),
        num_tokens=sum(map(len, found)),
        num_unknown=sum(unknown),
    )
    return Tokens(ids=rows, lengths=lengths, counts=counts)


def cached_tokens(folder: Path, texts: Sequence[str | None], tokenizer: TextTokenizer, *, max_tokens: int) -> Tokens:
    """:func:`tokenize`, read from ``folder`` if this tokenizer saw these texts before."""
    path = folder / f"text-{tokenizer.key}-{texts_fingerprint(texts)}-{max_tokens}.npz"
    tokens = _stored_tokens(path, len(texts), max_tokens)
    if tokens is None:
        tokens = tokenize(texts, tokenizer, max_tokens=max_tokens)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            counts_text = np.array(json.dumps(asdict(tokens.counts)))
            np.savez(file, ids=tokens.ids, lengths=tokens.lengths, counts=counts_text)
    if tokens.counts.num_foreign:
        warnings.warn(
            f"{tokens.counts.num_foreign} of {len(texts)} texts are mostly words unknown to the vocabulary, in another "
            "language perhaps; the classifier learns little from them",
            stacklevel=2,
        )
    return tokens


def _stored_tokens(path: Path, num_texts: int, max_tokens: int) -> Tokens | None:
    """None where there are none, or where they are damaged: they are made anew."""
    try:
        found = read_arrays(path, ("ids", "lengths", "counts"))
        counts = from_written(TextCounts, parse_json(str(found["counts"])))
    except InputError:
        return None
    ids, lengths = found["ids"], found["lengths"]
    is_whole = ids.ndim == 2 and ids.shape[1] <= max_tokens and len(ids) == num_texts and lengths.shape == (num_texts,)
    return Tokens(ids=ids, lengths=lengths, counts=counts) if is_whole else None


def texts_fingerprint(texts: Sequence[str | None]) -> str:
    """16 hexadecimal digits of texts and their order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]
