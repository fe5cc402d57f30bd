"""The index at CheXpert's true size: how long it takes to open and to draw a patient-level fraction, and its memory.

    python -m benchmarks index

The rows are synthetic, with the release's counts (64,540 patients, 187,641
studies, 191,027 frontal and 32,387 lateral images, 14 labels). Expect on one core well under 0.5 s each, and a peak
under 400 MB with everything that is imported.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.settings import CHEXPERT_FRONTAL, CHEXPERT_PATIENTS, CHEXPERT_ROWS, CHEXPERT_STUDIES, IndexConfig
from shards.format.manifest import write_manifest
from shards.format.schema import FINGERPRINT, FORMAT_VERSION, SOURCE_HASH, index_schema
from shards.images.fingerprint import NUM_BYTES
from shards.sources.reports.chexpert import LABELS

_SHARD_IMAGES = 1024
_PROGRAM = """
import json, sys, time
start = time.perf_counter()
import pyarrow.parquet as pq
from shards.index import ShardIndex
imported = time.perf_counter()
index = ShardIndex.open(sys.argv[1])
opened = time.perf_counter()
tenth = index.fraction(0.1, draw=1, by="patient")
drawn = time.perf_counter()
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))  # of this program
table = pq.read_table(sys.argv[1] + "/index.parquet")
read = time.perf_counter()
print(json.dumps({"import_seconds": imported - start, "open_seconds": opened - imported,
                  "fraction_seconds": drawn - opened, "parquet_seconds": read - drawn, "peak_megabytes": peak / 1024,
                  "num_rows": len(index), "num_drawn": len(tenth)}))
"""


@dataclass(frozen=True, kw_only=True)
class IndexMeasurement:
    """Seconds in a fresh process, and its peak resident memory in MB (2**20 bytes), imports included.

    ``parquet_seconds`` is the limit: the bare ``pyarrow.parquet.read_table`` of the same file, read once already.
    """

    num_rows: int
    num_drawn: int
    import_seconds: float
    open_seconds: float
    fraction_seconds: float
    parquet_seconds: float
    peak_megabytes: float


def run(config: IndexConfig) -> Iterator[str]:
    """Measures in one fresh process a turn, and says it in words."""
    rows, turns = (config.rows // 10, min(config.turns, 2)) if config.quick else (config.rows, config.turns)
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_synthetic_index(Path(folder) / "data", rows)
        measured = [measure_index(dataset) for _ in range(turns)]
    lines = [
        f"{name.replace('_', ' ')}: median {median(values):.3g}, from {min(values):.3g} to {max(values):.3g}"
        for name in ("open_seconds", "parquet_seconds", "fraction_seconds", "import_seconds", "peak_megabytes")
        for values in [[getattr(turn, name) for turn in measured]]
    ]
    yield from [f"index of {rows:,} rows, {turns} turns", *lines]


def measure_index(folder: Path) -> IndexMeasurement:
    """Opens the dataset at ``folder`` in a fresh process and draws a tenth of its patients."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", _PROGRAM, str(folder.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    return IndexMeasurement(**json.loads(done.stdout))


def write_synthetic_index(folder: Path, num_rows: int = CHEXPERT_ROWS) -> Path:
    """Writes a dataset folder of rows without images; ``num_rows`` scales CheXpert's patients and studies along."""
    folder.mkdir(parents=True)
    random = np.random.Generator(np.random.Philox(0))
    scale = num_rows / CHEXPERT_ROWS
    study = _spread(random, num_rows, max(1, round(CHEXPERT_STUDIES * scale)))
    patient = study * round(CHEXPERT_PATIENTS * scale) // max(1, round(CHEXPERT_STUDIES * scale))
    frontal = random.random(num_rows) < CHEXPERT_FRONTAL / CHEXPERT_ROWS
    view = np.where(frontal, "frontal", "lateral")
    patients = [f"patient{number + 1:05d}" for number in patient.tolist()]
    studies = [f"study{number % 90 + 1}" for number in study.tolist()]
    views = [f"view{number % 3 + 1}_{name}" for number, name in enumerate(view.tolist())]
    lengths = random.integers(20_000, 40_000, num_rows)
    blocks = 512 + (lengths + 511) // 512 * 512
    ends = np.cumsum(blocks)
    first = np.arange(num_rows) // _SHARD_IMAGES * _SHARD_IMAGES
    columns = {
        "key": [f"{a}_{b}_{c}" for a, b, c in zip(patients, studies, views, strict=True)],
        "dataset": ["chexpert"] * num_rows,
        "split": ["train"] * num_rows,
        "patient_id": patients,
        "study_id": studies,
        "view": view,
        "projection": [("AP" if i % 5 else "PA") if f else None for i, f in enumerate(frontal.tolist())],
        "sex": np.where(patient % 2 == 0, "Female", "Male"),
        "age": random.integers(18, 91, num_rows).astype(np.float32),
        "width": np.where(frontal, 390, 320),
        "height": np.where(frontal, 320, 390),
        "source_path": [f"train/{a}/{b}/{c}.jpg" for a, b, c in zip(patients, studies, views, strict=True)],
        "source_width": np.where(frontal, 390, 320),
        "source_height": np.where(frontal, 320, 390),
        "shard": [f"train-{i // _SHARD_IMAGES:06d}.tar" for i in range(num_rows)],
        "offset": ends - blocks - (ends - blocks)[first] + 512,
        "length": lengths,
        "crc32": random.integers(0, 2**32, num_rows, dtype=np.uint32),
        FINGERPRINT: [random.bytes(NUM_BYTES) for _ in range(num_rows)],
        SOURCE_HASH: random.integers(1, 2**63, num_rows),
    }
    for name in LABELS:
        drawn = random.choice(4, num_rows, p=(0.08, 0.12, 0.2, 0.6)) - 1
        columns[name] = pa.array(drawn.astype(np.int8), mask=drawn == 2)
    schema = index_schema(LABELS, texts=())
    table = pa.table({name: pa.array(values).cast(schema.field(name).type) for name, values in columns.items()})
    pq.write_table(table.cast(schema), folder / "index.parquet", compression="zstd")
    about = {
        "format_version": FORMAT_VERSION,
        "name": "chexpert",
        "image": {"size": 320, "format": "jpeg", "quality": 95},
        "labels": list(LABELS),
        "fingerprint": "synthetic",
    }
    write_manifest(folder, about)
    return folder


def _spread(random: np.random.Generator, num_rows: int, num_groups: int) -> np.ndarray:
    """A group of each row, (N,), in random order; each group has a row, the rest of the rows go anywhere."""
    groups = np.concatenate([np.arange(num_groups), random.integers(0, num_groups, num_rows - num_groups)])
    return random.permutation(groups)
