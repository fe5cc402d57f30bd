import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import write_patterns
from tests.train.processes import start_ranks
from tests.train.runs import ENTRY
from train.run.agreement import code_hash, facts_of_run
from train.settings.config import PretrainConfig
from train.settings.recipes import recipe
from train.settings.rows import select_rows


def configured(data: Path, output: Path) -> PretrainConfig:
    return replace(recipe("debug"), data=(data,), output=output)


def facts(config: PretrainConfig) -> dict[str, str]:
    return facts_of_run(config, select_rows(config), precision="fp32")


def differing(one: PretrainConfig, other: PretrainConfig) -> set[str]:
    first, second = facts(one), facts(other)
    return {name for name in first | second if first.get(name) != second.get(name)}


def test_the_same_data_elsewhere_are_the_same(tiny_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_dataset, tmp_path / "copy")
    config = configured(tiny_dataset, tmp_path / "run")
    threads = replace(config, data=(tmp_path / "copy",), loader=replace(config.loader, threads=3))
    assert differing(config, threads) == set()
    assert "--run.seed" in facts(config)


def test_settings_and_rows_that_differ(tiny_dataset: Path, tmp_path: Path) -> None:
    config = configured(tiny_dataset, tmp_path / "run")
    assert differing(config, replace(config, run=replace(config.run, seed=5))) == {"--run.seed"}
    part = replace(config, selection=replace(config.selection, split="test"))
    assert differing(config, part) == {"--selection.split", "selected rows"}


def test_other_images_of_the_same_names_differ(tiny_dataset: Path, tmp_path: Path) -> None:
    """As many files under the same names, the classes' pictures changed about."""
    source = write_patterns(tmp_path / "source", {"train": 32, "test": 16})
    (source / "train" / "blob" / "blob000.png").write_bytes((source / "train" / "clear" / "clear001.png").read_bytes())
    build_dataset(
        BuildConfig(source="folder", input=source, output=tmp_path / "tiny", size=64, shard_images=40, workers=1)
    )
    one, other = configured(tiny_dataset, tmp_path / "run"), configured(tmp_path / "tiny", tmp_path / "run")
    assert differing(one, other) == {"fingerprint of --data", "selected rows"}


def test_another_copy_of_the_project_differs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = code_hash()
    assert code_hash() == before
    copy = shutil.copytree(
        Path(str(pipeline.__file__)).parent, tmp_path / "pipeline", ignore=shutil.ignore_patterns("*.so")
    )
    monkeypatch.setattr(pipeline, "__file__", str(copy / "__init__.py"))
    assert code_hash() == before
    with (copy / "order.py").open("a") as file:
        file.write("\n")
    assert code_hash() != before


@pytest.mark.slow
@pytest.mark.parametrize("differs", ["data", "seed", "missing"])
def test_ranks_that_differ_end_before_the_first_step(tiny_dataset: Path, tmp_path: Path, differs: str) -> None:
    if differs == "data":
        source = write_patterns(tmp_path / "source", {"train": 33, "test": 16})
        build_dataset(BuildConfig(source="folder", input=source, output=tmp_path / "data", size=64, workers=1))
    second = {
        "data": ["--data", str(tmp_path / "data")],
        "seed": ["--data", str(tiny_dataset), "--run.seed", "7"],
        "missing": ["--data", str(tmp_path / "nowhere")],
    }[differs]
    said = {"data": "fingerprint of --data is", "seed": "--run.seed is 7, not 0;", "missing": f"dataset {tmp_path}"}
    own = [["--data", str(tiny_dataset)], second]
    processes = start_ranks([str(ENTRY), "debug", "--output", str(tmp_path / "run")], own=own)
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    lines = [line for line in "".join(outputs).splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: rank 1 on {socket.gethostname()}: ")
    assert said[differs] in lines[0]
    assert not (tmp_path / "run").exists()
