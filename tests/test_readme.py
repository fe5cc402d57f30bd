"""The script in the README runs as it stands, but for its data."""

import re
from dataclasses import replace

import torch

from pipeline.views import preset
from tests.conftest import ROOT


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


def test_code_is_narrow():
    """A page shows some 80 columns of code beside its own text."""
    text = (ROOT / "README.md").read_text()
    code = [*re.findall(r"^    .*$", text, flags=re.MULTILINE)]
    code += [line for script in re.findall(r"```\w+\n(.*?)```", text, flags=re.DOTALL) for line in script.splitlines()]
    assert len(code) > 50
    assert [line for line in code if len(line) > 80] == []
