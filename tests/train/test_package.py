import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import train


def test_no_file_bears_the_name_of_another_module() -> None:
    """The launcher and plain python put train/ first on the import path: such a file would be imported instead."""
    folder = Path(train.__file__).parent
    names = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    assert not names & (set(sys.stdlib_module_names) | packages_distributions().keys())
