"""The script in the README runs as it stands, but for its data."""

import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.views import preset
from tests.conftest import ROOT
from tests.shards.sealed import seal


def test_the_script_trains(tiny_dataset):
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    for theirs, ours in (
        ('"data/chexpert"', repr(str(tiny_dataset))),
        (', view="frontal").fraction(0.1)', ")"),
        ('"Pleural Effusion"', '"blob"'),
        ('"moco_cxr"', 'replace(preset("moco_cxr").evaluation(), size=64)'),
    ):
        assert theirs in script
        script = script.replace(theirs, ours)
    found: dict[str, object] = {"replace": replace, "preset": preset}
    exec(script, found)
    assert isinstance(found["loss"], torch.Tensor)
    assert found["loss"].isfinite()
    assert found["targets"].tolist() == found["labels"][found["index"].positions(found["batch"].rows)].tolist()


def test_the_scripts_of_the_pipeline_run(seen_from_aside):
    """On a machine without a GPU, too."""
    page = (ROOT / "docs" / "pipeline.md").read_text()
    first, second = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[:2]
    found: dict[str, object] = {}
    for script in (first, second):
        for theirs, ours in (
            ('"data/chexpert"', repr(str(seen_from_aside))),
            ("Pleural Effusion", "blob"),
            ("batch_size=64", "batch_size=8"),
            ('"moco_cxr"', 'replace(preset("moco_cxr"), size=64)'),
        ):
            script = script.replace(theirs, ours)
        exec(script, found | {"replace": replace, "preset": preset}, found)
    assert found["targets"].shape == (8,)
    assert 0 < len(found["both"]) < len(found["index"])
    assert len(found["unknown"]) == 96
    assert len(found["tenth"].rows) < 16


@pytest.fixture
def seen_from_aside(tiny_dataset, tmp_path):
    """The tiny dataset with views: every third image is lateral."""
    shutil.copytree(tiny_dataset, tmp_path / "data")
    path = tmp_path / "data" / "index.parquet"
    table = pq.read_table(path)
    views = pa.array(["lateral" if row % 3 == 0 else "frontal" for row in range(len(table))])
    pq.write_table(table.set_column(table.column_names.index("view"), "view", views), path)
    return seal(tmp_path / "data")


def test_code_is_narrow():
    """A page shows some 80 columns of code beside its own text."""
    text = (ROOT / "README.md").read_text()
    code = [*re.findall(r"^    .*$", text, flags=re.MULTILINE)]
    code += [line for script in re.findall(r"```\w+\n(.*?)```", text, flags=re.DOTALL) for line in script.splitlines()]
    assert len(code) > 50
    assert [line for line in code if len(line) > 80] == []
