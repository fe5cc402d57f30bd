"""The multimodal classifier on phantom MIMIC-CXR, by the command's own path: two inputs beat each alone, and texts of
other patients add nothing."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.grid.config import GridConfig, ReadoutName, Settings
from eval.grid.run import run_grid
from eval.multimodal.config import MultimodalConfig
from eval.results.table import Comparison
from eval.words import NO_IMAGE
from shards.index import ShardIndex
from shards.packing.build import build_dataset
from shards.packing.config import BuildConfig
from shards.phantom.config import PhantomConfig
from shards.phantom.write import write_phantom
from shards.sources.options import SourceOptions
from tests.shards.sealed import seal


@pytest.fixture(scope="module")
def mimic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    none = {"chexpert_patients": 0, "chexpert_valid_patients": 0, "shenzhen_images": 0}
    write_phantom(PhantomConfig(output=root, mimic_patients=3000, mimic_size=64, seed=1, **none))
    release = root / "MIMIC-CXR-JPG"
    options = SourceOptions(reports=release / "reports")
    build_dataset(BuildConfig(source="mimic", input=release, output=root / "mimic", size=64, source_options=options))
    return root / "mimic"


def compared(data: Path, output: Path, *readouts: ReadoutName) -> Comparison:
    return run_grid(
        GridConfig(
            settings=Settings(
                data=(data,),
                label=("Pleural Effusion",),
                random_starts=1,
                replicates=2000,
                subgroups=False,
                device="cpu",
            ),
            starts={"random": ("random",)},
            baseline="random",
            readout=readouts,
            output=output,
            features=output.parent / "features",
            fraction=(1.0,),
            architecture="resnet18",
            size=64,
            multimodal=MultimodalConfig(max_steps=1200, validations=10, layers=2, width=64, lr=2e-3, max_tokens=32),
        )
    )


@pytest.mark.slow
def test_both_inputs_beat_each_alone_and_shuffled_texts_do_not(mimic: Path, tmp_path: Path) -> None:
    result = compared(mimic, tmp_path / "own", "multimodal", "multimodal-image", "multimodal-text")
    (image,) = result.select(readout="multimodal-image")
    (text,) = result.select(readout="multimodal-text")
    assert image.auroc.low > 0.5
    assert text.auroc.low > 0.5
    assert (text.start, result.starts[NO_IMAGE].hashes) == (NO_IMAGE, [""])
    gains = {row.alone: row for row in result.inputs}
    assert gains["image"].auroc.low > 0
    assert gains["text"].auroc.low > 0

    shuffled = Path(shutil.copytree(mimic, tmp_path / "shuffled-data"))
    index = ShardIndex.open(mimic)
    texts = index.column("indication")
    for split in ("train", "valid", "test"):
        rows = index.where(split=split).rows
        texts[rows] = np.random.default_rng(0).permutation(texts[rows])
    table = pq.read_table(shuffled / "index.parquet")
    place = table.column_names.index("indication")
    table = table.set_column(place, "indication", pa.array(texts.tolist(), pa.string()))
    pq.write_table(table, shuffled / "index.parquet")
    seal(shuffled)
    (without,) = compared(shuffled, tmp_path / "others", "multimodal", "multimodal-image").inputs
    assert without.auroc.estimate < gains["image"].auroc.low
    assert without.auroc.low < 0.01
