"""Split names, from the words that releases and hospitals use for them, such as ``Training``, ``test_set``, ``dev``."""

import re

_WORDS = {
    "train": ("train", "training", "trn"),
    "valid": ("valid", "validate", "validation", "val", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
# What may stand beside the word: train_images, "Test Set", 01-train-png.
_BESIDE = re.compile(
    r"(data|image|img|picture|file|sample|case|set|split|xray|ray)s?|dataset|folder|part|x|chest|cxr|and"
    r"|png|jpe?g|dicom|dcm"
)
_JOINED = re.compile(rf"({'|'.join(sorted(_SPLITS, key=len, reverse=True))})(set|split|data|images?|imgs?)?")


def parse_split(text: str) -> str | None:
    """``train``, ``valid`` or ``test``; None for what names none of them, or several."""
    found = set()
    for token in re.findall(r"[a-z]+", text.lower()):
        match = _JOINED.fullmatch(token)
        if match:
            found.add(_SPLITS[match[1]])
        elif not _BESIDE.fullmatch(token):
            return None
    return found.pop() if len(found) == 1 else "train" if found == {"train", "valid"} else None
