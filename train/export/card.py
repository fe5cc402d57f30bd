"""The model card of a folder for the hub: a YAML head that the hub reads, how to load the model, what it is from.

Of a run's own card it has what concerns data, training and results, without the paths of the machine.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import ModelCardData

from pipeline.views import ViewSpec
from train.export.about import describe

_TAGS = ["timm", "chest-x-ray", "radiology", "moco-cxr"]
_SECTIONS = ("Data", "Training", "Results")
_PATH = re.compile(r"(?<![\w:/.])/(?:[\w.+@ -]+/)*([\w.+@-]+)")


def model_card(
    *,
    title: str,
    intro: str,
    views: ViewSpec,
    task: str,
    usage: Mapping[str, str],
    tags: Sequence[str] = (),
    license: str = "other",
    run: Path | None = None,
) -> str:
    """The card as Markdown.

    Args:
        intro: what it is and gives, in sentences.
        task: of the hub, such as ``image-feature-extraction``.
        usage: code, by the name of the software that it is for; NAME stands for the repository.
        run: folder whose ``model_card.md`` is quoted, where there is one.
    """
    head = ModelCardData(license=license, library_name="timm", pipeline_tag=task, tags=[*_TAGS, *tags])
    rows = "\n".join(f"| {name} | {value} |" for name, value in describe(views).items())
    code = "\n\n".join(f"{name}:\n\n```python\n{lines}\n```" for name, lines in usage.items())
    return f"""---
{head.to_yaml()}
---

# {title}

{intro}

## Input

One gray channel; the same for every software.

| | |
|---|---|
{rows}

## Use

{code}

## Intended use and limits

For research on chest X-rays like those it was trained on. Not a medical device: nothing it says has been validated on
the patients and the machines of anyone who downloads it. What it has learnt may follow hospital, projection, devices,
sex or age as much as disease. Whether the weights may be passed on depends on the terms of the data.
{_quoted(run)}"""


def _quoted(run: Path | None) -> str:
    file = run / "model_card.md" if run is not None else None
    if file is None or not file.is_file():
        return ""
    parts = re.split(r"^## (.+)$", file.read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    texts = [f"\n## {name}\n{sections[name].rstrip()}\n" for name in _SECTIONS if name in sections]
    return _PATH.sub(r"\1", "".join(texts))
