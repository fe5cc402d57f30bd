"""Images whose label is unknown are learnt from by nobody and counted nowhere: as if they were not there."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eval.grid.work
from eval.finetune.config import FinetuneConfig
from eval.grid.config import GridConfig, Settings
from eval.grid.plan import make_plan
from eval.grid.run import run_grid
from eval.grid.work import CellWorker
from eval.multimodal.config import MultimodalConfig
from eval.report.tables import markdown_tables, text_tables
from eval.training.task import TrainingTask
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions

LABELS = ("Edema", "Mass")
SHORT = {"max_steps": 2, "min_steps": 2, "validations": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``few``: four images in five have no label at all, and of those that do, some lack one of the two; ``labelled``:
    the labelled ones alone; ``absent``: the same images as in few, where a blank counts as absent."""
    root = tmp_path_factory.mktemp("unknown")
    random = np.random.default_rng(0)
    rows = []
    (root / "images").mkdir()
    for split, num_images in (("train", 120), ("valid", 60), ("test", 100)):
        for number in range(num_images):
            pixels = random.integers(60, 120, size=(32, 32))
            is_sick, is_labelled = number % 2, number % 5 == 0
            pixels[8:20, 8:20] += 80 * is_sick
            name = f"{split}{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / name)
            said = [str(is_sick), str(1 - is_sick) if number % 15 else "", "FM"[number % 2]]
            rows.append([name, split, *(said if is_labelled else ["", "", "F"])])
    header = ["file", "fold", *LABELS, "sex"]
    built = {}
    for name, blank in (("few", None), ("labelled", None), ("absent", "absent")):
        kept = [row for row in rows if name != "labelled" or row[2]]
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *kept])
        options = SourceOptions(
            csv=root / f"{name}.csv",
            path_column="file",
            patient_column="file",
            split_column="fold",
            sex_column="sex",
            label_columns=LABELS,
            blank=blank,
        )
        built[name] = root / "built" / name
        config = BuildConfig(
            source="table", input=root / "images", output=built[name], workers=1, source_options=options
        )
        build_dataset(dataclasses.replace(config, name="hospital", format="png"))
    return built


def grid(data: Path, output: Path, **fields) -> GridConfig:
    settings = Settings(data=(data,), label=LABELS, draws=2, replicates=100, random_starts=1, device="cpu")
    return GridConfig(
        settings=settings,
        starts={"random": ("random",)},
        baseline="random",
        architecture="resnet18",
        size=32,
        output=output,
        features=output / "features",
        shots=(2,),
        finetune=FinetuneConfig(**SHORT),
        multimodal=MultimodalConfig(layers=1, width=16, heads=2, image_tokens=1, **SHORT),
        **fields,
    )


@pytest.mark.slow
def test_every_readout_counts_what_is_labelled_alone(datasets: dict[str, Path], tmp_path: Path) -> None:
    fields = {"readout": ("linear", "knn", "few-shot", "finetune", "multimodal-image"), "fraction": (0.5, 1.0)}
    few, labelled = (run_grid(grid(datasets[name], tmp_path / name, **fields)) for name in ("few", "labelled"))
    assert few.test == labelled.test
    edema, mass = (few.test[label] for label in LABELS)
    assert (edema.num_images, edema.num_studies, edema.num_patients, edema.num_positive_studies) == (20, 20, 20, 10)
    assert mass.num_images == 13
    for one, other in zip(few.rows, labelled.rows, strict=True):
        assert (one.readout, one.label, one.fraction) == (other.readout, other.label, other.fraction)
        if one.fraction != 0.5:  # those are drawn in another order of the patients
            counts = [
                [(draw.num_patients, draw.num_images, draw.num_positives) for draw in row.draws] for row in (one, other)
            ]
            assert counts[0] == counts[1]
        if one.fraction == 1.0 and one.readout in ("linear", "knn"):
            assert one.auroc.estimate == pytest.approx(other.auroc.estimate, abs=1e-6)
    half = next(few.select(readout="linear", fraction=0.5, label="Edema"))
    assert {draw.num_patients for draw in half.draws} == {12}, "half of the 24 patients with a label"
    groups = [row for row in few.subgroups if row.label == "Edema" and row.readout == "linear"]
    assert sum(row.num_studies for row in groups) == 20
    told = "Blank labels are unknown in hospital, and left out of training, test and every count."
    assert few.blanks == told
    assert told in " ".join(text_tables([few]).split())
    assert told in markdown_tables([few])
    assert labelled.blanks == told.replace("hospital", "hospital (Mass)")


def test_trainings_are_given_labelled_rows_alone(
    datasets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[TrainingTask] = []
    monkeypatch.setattr(eval.grid.work, "run_finetune", lambda start, task, *_, **__: given.append(task))
    plan = make_plan(grid(datasets["few"], tmp_path, readout=("finetune",), fraction=(1.0,)))
    with pytest.raises(AttributeError):  # there is no result
        CellWorker(plan).compute(plan.tasks[0])
    (work,) = given
    assert (len(work.train_rows), len(work.valid_rows), len(work.test_rows)) == (24, 12, 20)
    assert np.isnan(work.train_labels).sum() == 8, "the loss masks the one of two that is unknown"
    assert np.isfinite(work.train_labels).any(axis=1).all()


def test_where_a_blank_is_absent_all_are_counted(datasets: dict[str, Path], tmp_path: Path) -> None:
    result = run_grid(grid(datasets["absent"], tmp_path, readout=("knn",), fraction=(1.0,)))
    assert (result.test["Edema"].num_studies, result.test["Edema"].num_positive_studies) == (100, 10)
    assert result.blanks == "Blank labels count as absent in hospital."
    assert ShardIndex.open(datasets["absent"]).fingerprints != ShardIndex.open(datasets["few"]).fingerprints
