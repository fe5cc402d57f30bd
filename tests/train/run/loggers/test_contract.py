from pathlib import Path

import pytest

from shards.base.errors import InputError
from train.run.loggers.contract import keep_id, kept_id, numbers, plain_name


def test_numbers_are_what_is_finite() -> None:
    line = {"step": 3, "epoch": 0.5, "loss": None, "warnings": {"collapse": "..."}, "effective_rank": 7}
    assert numbers(line) == {"epoch": 0.5, "effective_rank": 7}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("loss", "loss"),
        ("pretext_accuracy(%)", "pretext_accuracy_percent"),
        ("throughput(img/s)", "throughput_img_per_s"),
        ("peak_memory(GiB)", "peak_memory_GiB"),
        ("knn_auroc/Pleural Effusion", "knn_auroc/Pleural Effusion"),
        ("knn_auroc/Ödem (?)", "knn_auroc/_dem __"),
        ("/", "_"),
    ],
)
def test_names_are_those_that_servers_take(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_an_identifier_is_kept_and_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "wandb.json"
    assert kept_id(path) is None
    keep_id(path, "abc")
    assert kept_id(path) == "abc"
    for damaged in ("", "[]", '{"id": 3}', "{}"):
        path.write_text(damaged)
        with pytest.raises(InputError, match="wandb.json: .*remove it to begin a new run there"):
            kept_id(path)
