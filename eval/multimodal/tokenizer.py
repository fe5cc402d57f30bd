"""Words to numbers: the tokenizer of a text model, or a vocabulary made from the training texts.

De-identified places, runs of underscores in MIMIC-CXR's reports, are one sign: of a vocabulary of our own ``___``, and
in a pretrained one its mask, which is what it knows of words that are not told.

A vocabulary of our own is of word pieces: the most frequent pair of neighbours becomes one, again and again (Sennrich
et al. 2016, arXiv 1508.07909), in the spelling of WordPiece, where what continues a word begins ``##``. The trainer of
the tokenizers library breaks ties in the order of a hash map, so that two processes get two vocabularies
(github.com/huggingface/tokenizers, issue 1794); here pairs of equal count go by the alphabet. 1 s for 25,000 texts.
"""

import hashlib
import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from eval.multimodal.config import SMALL
from shards.base.errors import InputError
from shards.base.words import reason_of

REMEDY = (
    "give a BERT-like model with safetensors weights, as a local folder or a name that can be fetched from Hugging "
    "Face, or small"
)
_BLANK = "___"
_BLANKS = re.compile(r"_{2,}")
_STORED = "tokenizer.json"
_MODEL_FILES = (".json", ".txt", ".safetensors")
Pair = tuple[str, str]
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", _BLANK)


class _Encode(Protocol):
    def __call__(self, texts: list[str]) -> list[list[int]]: ...


@dataclass(frozen=True, kw_only=True)
class TextTokenizer:
    """``encode`` gives the numbers of texts without the first and last signs, ``first`` and ``last``; ``unknown`` is
    the number of what is in no vocabulary, -1 where there is no such thing; ``size`` how many numbers there are;
    ``key`` tells tokenizers apart; ``backend`` is the library's own, which can be saved."""

    encode: _Encode
    blank: str
    first: int
    last: int
    padding: int
    unknown: int
    size: int
    key: str
    backend: Any

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return self.encode([_BLANKS.sub(f" {self.blank} ", text) for text in texts])


def build_tokenizer(text_model: str, texts: Iterable[str], *, vocabulary: int) -> TextTokenizer:
    """The tokenizer of a checkpoint; for ``small`` one with a vocabulary of ``texts``, case folded.

    Raises:
        InputError: a checkpoint that is not there, or has no tokenizer.
    """
    return _own(texts, vocabulary) if text_model == SMALL else _pretrained(text_model)


def _own(texts: Iterable[str], vocabulary: int) -> TextTokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        plain = normalizer.normalize_str(_BLANKS.sub(" ", text))
        words.update(word for word, _ in splitter.pre_tokenize_str(plain))
    pieces = [*_SPECIAL, *word_pieces(words, size=vocabulary - len(_SPECIAL))]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.add_special_tokens(list(_SPECIAL))
    return _wrapped(backend, pieces)


def stored_tokenizer(folder: Path, *, is_own: bool) -> TextTokenizer:
    """The tokenizer that a classifier's folder holds: one with a vocabulary of our own, or a checkpoint's.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if not is_own:
        return _pretrained(str(folder))
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(folder / _STORED))
    except Exception as error:  # of the library, which has no class for it
        raise InputError(f"{folder / _STORED}: cannot be read ({reason_of(error)}); copy the folder again") from None
    vocabulary = backend.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    if tuple(pieces[: len(_SPECIAL)]) != _SPECIAL:
        raise InputError(f"{folder / _STORED}: is no vocabulary of ours; copy the folder again")
    return _wrapped(backend, pieces)


def save_tokenizer(tokenizer: TextTokenizer, folder: Path) -> None:
    """Writes what :func:`stored_tokenizer` reads."""
    save = getattr(tokenizer.backend, "save_pretrained", None)
    if save is not None:
        save(folder)
    else:
        tokenizer.backend.save(str(folder / _STORED))


def _wrapped(backend: Any, pieces: Sequence[str]) -> TextTokenizer:
    return TextTokenizer(
        encode=lambda texts: [each.ids for each in backend.encode_batch_fast(texts, add_special_tokens=False)],
        blank=_BLANK,
        padding=0,
        unknown=1,
        first=2,
        last=3,
        size=len(pieces),
        key=_key("\n".join(pieces)),
        backend=backend,
    )


def _pretrained(name: str) -> TextTokenizer:
    from huggingface_hub.utils import logging
    from transformers import AutoTokenizer

    logging.set_verbosity_error()  # it tells of each attempt to reach a name, and the error below says it once
    try:
        backend = AutoTokenizer.from_pretrained(name, trust_remote_code=False)  # by default it asks on the terminal
    except (OSError, ValueError, ImportError) as error:
        raise not_there(name, error) from None
    first = backend.bos_token_id if backend.cls_token_id is None else backend.cls_token_id
    last = backend.eos_token_id if backend.sep_token_id is None else backend.sep_token_id
    if first is None or last is None or backend.pad_token_id is None:
        raise InputError(f"multimodal.text_model {name}: its tokenizer has no first, last or padding sign; {REMEDY}")

    def encode(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = backend(texts, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        return found

    return TextTokenizer(
        encode=encode,
        blank=backend.mask_token or _BLANK,
        first=first,
        last=last,
        padding=backend.pad_token_id,
        unknown=-1 if backend.unk_token_id is None else backend.unk_token_id,
        size=len(backend),
        key=_key(repr(sorted(backend.get_vocab().items())) + str(backend.init_kwargs.get("do_lower_case"))),
        backend=backend,
    )


def model_fingerprint(text_model: str) -> str:
    """16 hexadecimal digits of a local folder's files, so that another model of the same name is another one; the name
    itself of any other."""
    folder = Path(text_model)
    if not folder.is_dir():
        return text_model
    digest = hashlib.sha256()
    for path in sorted(each for each in folder.iterdir() if each.suffix in _MODEL_FILES):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def not_there(name: str, error: Exception) -> InputError:
    """The error of a checkpoint that cannot be loaded, in one line."""
    if not Path(name).exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        return InputError(f"multimodal.text_model {name}: no such folder; {REMEDY}")
    why = "it needs code of its own, which is never run" if "trust_remote_code" in str(error) else reason_of(error)
    return InputError(f"multimodal.text_model {name}: cannot be loaded ({why}); {REMEDY}")


def _key(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def word_pieces(words: Mapping[str, int], *, size: int, min_count: int = 2) -> list[str]:
    """At most ``size`` pieces: the characters first, in the order of the alphabet, then longer and longer ones.

    Args:
        words: with their counts.
        min_count: pairs that come less often stay two.
    """
    spelled = [_spell(word) for word in sorted(words)]
    counts = [words[word] for word in sorted(words)]
    pieces = dict.fromkeys(sorted({piece for word in spelled for piece in word})[:size])
    totals: Counter[Pair] = Counter()
    places: dict[Pair, set[int]] = defaultdict(set)  # the words that a pair is or was in
    for number, word in enumerate(spelled):
        for pair in pairwise(word):
            totals[pair] += counts[number]
            places[pair].add(number)
    heap = [(-count, pair) for pair, count in totals.items()]
    heapq.heapify(heap)
    while heap and len(pieces) < size:
        count, pair = heapq.heappop(heap)
        if -count != totals[pair]:
            continue  # its count has changed since; the new one is in the heap as well
        if -count < min_count:
            break
        merged = pair[0] + pair[1].removeprefix("##")
        pieces[merged] = None
        changed: set[Pair] = set()
        for number in places.pop(pair):
            before, after = spelled[number], _merge(spelled[number], pair, merged)
            for word, sign in ((before, -1), (after, 1)):
                for neighbours in pairwise(word):
                    totals[neighbours] += sign * counts[number]
                    changed.add(neighbours)
                    if sign > 0:
                        places[neighbours].add(number)
            spelled[number] = after
        totals[pair] = 0
        for neighbours in changed:
            if totals[neighbours] > 0:
                heapq.heappush(heap, (-totals[neighbours], neighbours))
    return list(pieces)


def _spell(word: str) -> list[str]:
    return [word[0], *(f"##{letter}" for letter in word[1:])]


def _merge(word: list[str], pair: Pair, merged: str) -> list[str]:
    done: list[str] = []
    place = 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            done.append(merged)
            place += 2
        else:
            done.append(word[place])
            place += 1
    return done
