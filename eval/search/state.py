"""What a search has done, in ``search.json`` of its folder: the same command goes on from there."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.search.config import SearchConfig
from eval.search.probe import Gain
from shards.base.atomic import atomic_write
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError
from shards.base.stored import read_json_object

FILE = "search.json"


@dataclass
class State:
    """``runs``: by candidate and seed, epochs and seconds of its pretraining, and by epochs its probes' AUROCs;
    ``tested``: the candidate for which the test split was opened."""

    folder: Path
    settings: dict[str, Any]
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tested: str | None = None

    def run(self, name: str) -> dict[str, Any]:
        """What is known of a run; changed in place."""
        return self.runs.setdefault(name, {"epochs": 0, "seconds": 0.0, "aurocs": {}})

    def save(self) -> None:
        """Writes it whole."""
        content = {"settings": self.settings, "runs": self.runs, "tested": self.tested}
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self.folder / FILE, json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A candidate at a rung: how long each of its runs was trained, and its gain; ``problem`` where it failed."""

    candidate: str
    rung: int
    epochs: int
    seconds: float
    gain: Gain | None
    problem: str = ""
    goes_on: bool = False


def open_state(config: SearchConfig) -> State:
    """The state of a search, new where there is none.

    Raises:
        InputError: the folder holds a search of other settings, or something else.
    """
    settings = json.loads(json.dumps({k: v for k, v in to_mapping(config).items() if k != "output"}))
    path = config.folder / FILE
    if not path.exists():
        if config.folder.exists() and (not config.folder.is_dir() or any(config.folder.iterdir())):
            raise InputError(f"--output {config.folder}: is no search and not empty; give a new folder")
        return State(config.folder, settings)
    try:
        content = read_json_object(path)
        state = State(config.folder, content["settings"], content["runs"], content["tested"])
    except (InputError, KeyError) as error:
        raise InputError(f"--output {config.folder}: {FILE} is damaged ({error}); give a new folder") from None
    names = {**settings, **state.settings}
    if other := [name for name in names if settings.get(name) != state.settings.get(name)]:
        raise InputError(
            f"--output {config.folder}: holds a search with other settings ({', '.join(other)}); repeat its file as it "
            "was, or give a new folder"
        )
    return state
