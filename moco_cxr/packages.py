"""The packages of this project are named by plain words, as files of a user's may be: ours are looked for here."""

from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("shards", "pipeline", "train", "eval", "benchmarks")
_ROOT = Path(__file__).parents[1]


def check_packages() -> None:
    """Raises ImportError where another module of one of our names comes first on the import path."""
    for name in PACKAGES:
        found = PathFinder.find_spec(name)
        where = None if found is None else found.origin or next(iter(found.submodule_search_locations or ()), None)
        if where is not None and not Path(where).resolve().is_relative_to(_ROOT.resolve() / name):
            raise ImportError(
                f"{where}: is found first where moco_cxr's own package {name!r} is to be imported; rename it, or leave "
                "its folder out of the import path (python -P, and no PYTHONPATH that names it)"
            )
