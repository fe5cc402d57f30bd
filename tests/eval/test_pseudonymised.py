"""From a release full of names to tables: nothing of what comes after a pseudonymised build holds one, and an encoder
is known to have seen the test images, also by way of the run that it started from, when they are packed anew."""

import subprocess
import sys
from pathlib import Path

import pytest

from eval.results.file import load_comparison
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions
from tests.conftest import ROOT, draw_pattern
from tests.shards.packing.pseudonym.planting import NAME, encoded, everything_in, holds_name, write

pytestmark = pytest.mark.slow


def run(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table of 96 images of 48 patients, a third of them test images, packed at two sizes by one key."""
    from PIL import Image

    root = tmp_path_factory.mktemp("planted")
    files: dict[str, bytes | str] = {}
    lines = [f"file,patient,view,fold,Blob,{NAME}"]
    for number in range(96):
        name = f"{NAME}/{number}.png"
        image = Image.fromarray(draw_pattern(number, has_blob=number % 3 == 0))
        files[name] = encoded(image, "PNG") + NAME.encode()
        fold = "train" if number < 64 else "test"
        lines.append(f"{name},{NAME} {number // 2},AP of {NAME},{fold},{int(number % 3 == 0)},{NAME}")
    write(root / "in", files | {f"{NAME}.csv": "\n".join(lines)})
    (root / "key").write_text("a key of more than sixteen bytes")
    columns = {name: name.partition("_")[0] for name in ("patient_column", "view_column")}
    options = SourceOptions(
        csv=Path(f"{NAME}.csv"), path_column="file", split_column="fold", label_columns=("Blob",), **columns
    )
    for name, size in (("first", 64), ("again", 40)):
        config = BuildConfig(source="table", input=root / "in", output=root / name, size=size, workers=1)
        build_dataset(BuildConfig(**vars(config) | {"pseudonymise": root / "key", "source_options": options}))
    return root / "first", root / "again"


def test_runs_and_results_name_nobody_and_know_what_was_seen(packed: tuple[Path, Path], tmp_path: Path) -> None:
    first, again = packed
    runs = [tmp_path / "runs" / name for name in ("whole", "later", "clean")]
    common = ["train/pretrain.py", "debug", "--data", first]
    said = run(*common, "--output", runs[0], "--selection.split", "all", "--encoder.weights", "random")
    said += run(*common, "--output", runs[1], "--encoder.weights", runs[0])
    said += run(*common, "--output", runs[2], "--encoder.weights", "random")
    for folder, number, of in zip(runs, (32, 32, 0), (16, 16, 0), strict=True):
        words = ["--data", again, "--label", "Blob", "--fraction", 1, "--against", "random", "--random-starts", 1]
        told = run("-m", "eval", "linear", "--run", folder, *words, "--replicates", 200, "--output", folder / "eval")
        exposure = load_comparison(folder / "eval").starts["pretrained"].exposure
        assert exposure is not None
        assert (exposure.num_images, exposure.of_images) == (number, 32)
        assert (exposure.num_patients, exposure.of_patients) == (of, 16)
        caution = f"Caution: pretraining of pretrained saw {number} of the 32 (100.0%) test images of again"
        clean = "Pretraining of pretrained saw none of the 32 test images of again"
        assert (caution if number else clean) in told
        said += told + run("-m", "eval", "report", folder / "eval")
    assert not [place for place, data in everything_in(tmp_path / "runs").items() if holds_name(data)]
    assert not holds_name(said.encode())
