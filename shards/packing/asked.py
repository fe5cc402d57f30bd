"""The options that decide the bytes of a dataset, in words: of a build that is asked for, and of one that was begun."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shards.images.store import ImageSpec
from shards.packing.config import BuildConfig
from shards.packing.split import Shares

_KEY, _NONE = "a key", "none"
_UNTOLD = "other options (a key, --keep-text, labels, or --blank)"


def asked(config: BuildConfig, spec: ImageSpec, *, name: str, key_id: str | None) -> dict[str, str]:
    """By option, what ``config`` asks for."""
    of_key = {} if key_id is None else {"the key of --pseudonymise": key_id}
    return {
        "--name": name,
        **_of_image(asdict(spec)),
        **_of_split(config.split, config.split_seed),
        "--seed": str(config.seed),
        "--shard-images": str(config.shard_images),
        "--pseudonymise": _NONE if key_id is None else _KEY,
        **of_key,
        "--keep-text": _switch(config.keep_text),
        "--keep-columns": _listed(config.source_options.keep_columns),
        "--blank": config.source_options.blank or "as the source has it",
    }


def asked_of(about: Mapping[str, Any]) -> dict[str, str]:
    """By option, what a dataset was packed with, as far as its ``dataset.json`` tells."""
    plain = {"--name": "name", "--seed": "seed", "--shard-images": "shard_images"}
    return {
        **{option: str(about[field]) for option, field in plain.items() if field in about},
        **_of_image(about.get("image", {})),
        **_of_split(about.get("split"), about.get("split_seed", 0)),
        "--pseudonymise": _KEY if about.get("pseudonymised") else _NONE,
        "--keep-columns": _listed(about.get("kept_columns", ())),
    }


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What was asked for before and is not now, such as ``--size 128, not 96``."""
    changed = [option for option in before if option in now and before[option] != now[option]]
    return "; ".join(f"{option} {before[option]}, not {now[option]}" for option in changed) or _UNTOLD


def _of_image(image: Mapping[str, Any]) -> dict[str, str]:
    words = {name: _switch(value) if isinstance(value, bool) else str(value) for name, value in image.items()}
    return {f"--{name}": word for name, word in words.items()}


def _of_split(split: str | None, seed: int) -> dict[str, str]:
    if split is None:
        return {"--split": _NONE}
    shares = Shares.parse(split)
    percent = "/".join(f"{100 * share:g}" for share in (shares.train, shares.valid, shares.test))
    return {"--split": percent, "--split-seed": str(seed)}


def _switch(value: bool) -> str:
    return "on" if value else "off"


def _listed(columns: Any) -> str:
    return " ".join(columns) or _NONE
