"""Where a classifier is looked for, and what is said where there is none."""

from pathlib import Path

import pytest

from eval.inference.model import find_classifier, holds_classifier, load_classifier
from shards.base.errors import InputError
from tests.eval.classifier.test_file import save


def test_a_classifier_is_found_by_its_folder_its_files_and_what_is_around(tmp_path: Path) -> None:
    cell = tmp_path / "results" / "cells" / "finetune" / "pretrained" / "1-draw0.run"
    save(cell)
    for path in (cell, cell / "head.safetensors", cell / "encoder.safetensors", tmp_path / "results"):
        assert find_classifier(path) == cell
        assert holds_classifier(path) == (path.name != "encoder.safetensors")
    assert load_classifier(tmp_path).labels == ("Edema", "Fracture")
    save(tmp_path / "results" / "cells" / "finetune" / "random-0" / "1-draw0.run")
    with pytest.raises(InputError, match=r"holds 2 classifiers; give one of .*pretrained/1-draw0\.run"):
        load_classifier(tmp_path)


def test_what_is_none_is_told_how_to_keep_one(tmp_path: Path, run_folder: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    for path, message in (
        (tmp_path / "absent", "no such file or folder"),
        (tmp_path / "notes.txt", "is no classifier"),
        (run_folder, "holds no classifier"),
        (run_folder / "encoder.safetensors", "is no classifier"),
    ):
        with pytest.raises(InputError, match=f"^--model .*{message}.* eval finetune --finetune.keep-model"):
            load_classifier(path)
    save(run_folder / "eval" / "finetune" / "1-draw0.run")
    assert holds_classifier(run_folder / "eval")
    assert not holds_classifier(run_folder), "a run with its results is an encoder"
