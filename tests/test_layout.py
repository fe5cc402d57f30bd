"""The picture of imports and the shape of the folders: a reader finds the way by folder and file name alone."""

import ast
import functools
import graphlib
import itertools
import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Each imports only itself and those before it.
PACKAGES = ("shards", "pipeline", "train", "eval", "benchmarks", "moco_cxr")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
FOLDERS = sorted({path.parent for path in MODULES.values()})
TESTS = sorted({path.parent for path in (ROOT / "tests").rglob("*.py")})
# Tests of a whole command, or of several modules together: they have no module to lie beside.
WHOLE = {
    "docs/test_bring_your_own.py",
    "docs/test_demo.py",
    "docs/test_images.py",
    "test_commands.py",
    "test_conftest.py",
    "test_damage.py",
    "test_damaged_commands.py",
    "test_disks.py",
    "test_failing_disks.py",
    "test_imports.py",
    "test_layout.py",
    "test_mutations.py",
    "test_no_code.py",
    "test_readme.py",
    "test_settings.py",
    "gpu/test_fake.py",
    "moco_cxr/test_tutorial.py",
    "moco_cxr/test_wheel.py",
    "moco_cxr/test_wrong_inputs.py",
    "eval/test_multimodal_command.py",
    "eval/test_multimodal_phantom.py",
    "eval/test_cross_validated.py",
    "eval/test_foreign_starts.py",
    "eval/test_pseudonymised.py",
    "eval/test_unknown_labels.py",
    "eval/stats/test_coverage.py",
    "eval/study/test_few_shot.py",
    "pipeline/test_bad_shards.py",
    "pipeline/test_positives.py",
    "shards/images/test_hostile.py",
    "shards/test_interruption.py",
    "train/test_hosts.py",
    "train/test_launcher.py",
    "train/test_lost_ranks.py",
    "train/test_leakage.py",
    "train/test_package.py",
    "train/test_slurm.py",
    "train/test_two_ranks.py",
    "train/methods/test_two_forwards.py",
}


@functools.cache
def imported(module: str) -> set[str]:
    """The modules of this project that ``module`` imports anywhere, or names in a string to have them run."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=source, names=names):
                assert not node.level, f"{module} imports by a relative name; write the whole one"
                found |= {
                    f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source for alias in names
                }
            case ast.Constant(value=str(text)) if "." in text:
                found.add(text)
    return {name for name in found if name in MODULES and name != module}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not circle({module: imported(module) for module in MODULES})


@pytest.mark.parametrize("folder", [".".join(path.relative_to(ROOT).parts) for path in FOLDERS])
def test_inside_a_folder_nothing_runs_back_up(folder: str) -> None:
    """Its modules and folders stand on floors: what one imports, by any of its modules, never imports it."""
    arrows: dict[str, set[str]] = defaultdict(set)
    because: dict[tuple[str, str], list[str]] = defaultdict(list)

    def child(module: str) -> str:
        return module.removeprefix(f"{folder}.").partition(".")[0]

    inside = [module for module in MODULES if module.startswith(f"{folder}.")]
    for module in inside:
        for other in imported(module):
            if other in inside and child(other) != child(module):
                arrows[child(module)].add(child(other))
                because[child(other), child(module)].append(f"{module} imports {other}")
    found = circle(arrows)
    assert not found, [because[pair] for pair in itertools.pairwise(found)]


def test_arrows_between_packages_go_one_way() -> None:
    def package(module: str) -> int:
        return PACKAGES.index(module.partition(".")[0])

    wrong = [f"{a} imports {b}" for a in MODULES for b in imported(a) if package(b) > package(a)]
    assert not wrong
    text = {module: path.read_text() for module, path in MODULES.items()}
    assert not [module for module, code in text.items() if "from tests" in code or "import tests" in code]


def test_every_folder_of_modules_is_a_package() -> None:
    """So that a wheel holds it."""
    assert not [folder for folder in FOLDERS if not (folder / "__init__.py").exists()]


def test_a_wheel_holds_every_file_that_modules_read() -> None:
    """Styles, scripts and templates are package data; results of benchmarks and the C source are not."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    held = {path for name in patterns for each in patterns[name] for path in (ROOT / name.replace(".", "/")).glob(each)}
    found = {
        path for folder in FOLDERS for path in folder.glob("**/*.*") if path.suffix not in (".py", ".pyc", ".c", ".so")
    }
    assert {path for path in found if ROOT / "benchmarks" / "results" not in path.parents} == held


def modules_in(folder: Path) -> list[str]:
    return [path.stem for path in folder.glob("*.py") if path.name != "__init__.py"]


def test_no_folder_holds_more_than_16_modules() -> None:
    assert not {str(folder) for folder in FOLDERS + TESTS if len(modules_in(folder)) > 16}


def test_no_prefix_stands_for_a_folder_that_is_missing() -> None:
    for folder in FOLDERS + TESTS:
        counts = Counter(name.removeprefix("test_").partition("_")[0] for name in modules_in(folder))
        assert not {prefix: count for prefix, count in counts.items() if count > 2}, folder


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for folder in FOLDERS + TESTS for path in folder.glob("*.py")}
    assert not {str(path): length for path, length in lengths.items() if length > 300}


def test_tests_lie_where_what_they_test_lies() -> None:
    """``tests/A/test_b.py`` is of ``A/b.py``, ``A/__b__.py`` or the folder ``A/b/``; ``tests/A/b/test_*.py`` may all be
    of the module ``A/b.py``; ``tests/A/test_A.py`` is of ``A/__init__.py``."""

    def mirrors(file: Path) -> bool:
        folder, name = ROOT / file.parent, file.stem.removeprefix("test_")
        places = [folder / f"{name}.py", folder / f"__{name}__.py", folder / name, folder.with_suffix(".py")]
        return name == folder.name or any(place.exists() for place in places)

    files = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    assert {str(file) for file in files if not mirrors(file)} == WHOLE


def test_the_map_names_every_folder_and_where_to_start_reading() -> None:
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    named = {folder for places, _ in rows for folder in re.findall(r"`(\w+/\w*)/?`", places)}
    assert named >= {"/".join(folder.relative_to(ROOT).parts[:2]) for folder in FOLDERS if folder.parent != ROOT}
    for places, files in rows:
        folders = [ROOT / place for place in re.findall(r"`([\w/]+)`", places)]
        assert all(folder.is_dir() for folder in folders), places
        for file in re.findall(r"`([\w.]+)`", files):
            assert any((folder / file).is_file() for folder in folders), f"{places}: {file}"
    floors = {name: floor for floor, (places, _) in enumerate(rows) for name in re.findall(r"`(\w+/\w+)/`", places)}

    def floor_of(module: str) -> int | None:
        return floors.get("/".join(module.split(".")[:2]))

    for module in MODULES:
        for other in imported(module):
            above, below = floor_of(module), floor_of(other)
            if above is not None and below is not None and module.partition(".")[0] == other.partition(".")[0]:
                assert below <= above, f"{module} imports {other}, of a lower row of the map"


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
PAGES.remove("docs/benchmarks.md")  # keeps the names of the day it was measured


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_that_a_page_names_exist(page: str) -> None:
    text = re.sub(r"\]\([^)]*\)", "", (ROOT / page).read_text())  # links are for `make docs`
    package = f"(?<![\\w/.-])(?:{'|'.join((*PACKAGES, 'tests'))})"
    for path in re.findall(rf"{package}/[\w/-]*(?:\.\w+)?", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(rf"{package}(?:\.\w+)+", text):
        module, _, attribute = name.rpartition(".")
        assert name in MODULES or attribute in MODULES[module].read_text(), name
