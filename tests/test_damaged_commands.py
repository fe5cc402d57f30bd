"""The damages of ``tests/damage.py`` through the commands: whatever a command opens that is damaged ends it with 2 and
one line that names the file."""

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pyarrow import csv

from eval.results.file import save_comparison
from eval.results.table import Comparison
from pipeline.views import ViewSpec
from shards.base.errors import InputError, run_command
from tests.conftest import ROOT, write_patterns
from tests.damage import Reader, apply, as_json, as_lines, as_yaml, assert_told, drive, outcome
from tests.eval.conftest import comparison  # noqa: F401
from tests.shards.sealed import seal
from tests.test_damage import a_dataset
from train.encoders.build import build_encoder
from train.encoders.saved import save_encoder
from train.ranks.watchdog import run_together
from train.run.folder import write_run_folder
from train.settings.recipes import recipe

_SINGLE = "moco_cxr.commands.{}"
NUM_QUICK = 2  # damages of each line that the fast test tries


def call(words: str) -> str:
    """Runs a command in this process; returns what it printed.

    Raises:
        InputError: with its lines, where it ends with 2; or with 1, by which ``shards`` tells of damage found, and of
            images refused.
    """
    package, *arguments = words.split()
    module = {"pretrain": "train.pretrain", "predict": _SINGLE, "embed": _SINGLE}.get(package, "{}.__main__")
    main = importlib.import_module(module.format(package)).main
    said, printed = io.StringIO(), io.StringIO()
    with (
        _as_a_process([package, *arguments]),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(printed),
        pytest.raises(SystemExit) as ended,
    ):
        run_command((lambda: run_together(main)) if package == "pretrain" else main)
    if ended.value.code == 0:
        return said.getvalue()
    if package == "shards" and ended.value.code == 1:
        raise InputError(printed.getvalue())
    assert ended.value.code == 2, (words, said.getvalue(), printed.getvalue())
    beside = re.compile(r"warning: |note: |[\w ,.-]+: +\d+%")  # bars are whole lines where no terminal is
    told = [line for line in said.getvalue().splitlines() if not beside.match(line)]
    assert told[0].startswith("error: "), said.getvalue()
    raise InputError("\n".join(told).removeprefix("error: "))


@contextlib.contextmanager
def _as_a_process(argv: list[str]) -> Iterator[None]:
    """What a command changes of its process is put back behind it."""
    kept = sys.argv, warnings.formatwarning, threading.excepthook
    environment, num_threads = dict(os.environ), torch.get_num_threads()
    sys.argv = argv
    try:
        yield
    finally:
        sys.argv, warnings.formatwarning, threading.excepthook = kept
        os.environ.clear()
        os.environ.update(environment)
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(num_threads)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Line:
    """A command, of which ``@`` is the folder of the stage, and the file there that is damaged.

    ``told``: what messages name; default: the file. ``may_be_gone``, ``is_anew``, ``is_users``,
    ``has_unread_end``: as of :class:`Reader`. ``is_slow``: it is not among the quick ones, as it computes before it
    opens the file. ``cache``: what would spare it the file, and is removed.
    """

    words: str
    file: str
    told: str = ""
    may_be_gone: bool = False
    is_anew: bool = False
    is_users: bool = False
    is_slow: bool = False
    has_unread_end: bool = False
    cache: str = "out"

    def reader(self, stage: Path) -> Reader:
        path = stage / self.file
        content = path.read_bytes()
        fields, dump = {
            ".json": lambda: (json.loads(content), as_json),
            ".yaml": lambda: (yaml.safe_load(content), as_yaml),
            ".jsonl": lambda: ([json.loads(line) for line in content.splitlines()], as_lines),
        }.get(path.suffix, lambda: (None, as_json))()
        return Reader(
            path,
            partial(called, self.words, stage, self.cache),
            fields,
            dump,
            may_be_gone=self.may_be_gone,
            is_anew=self.is_anew,
            is_users=self.is_users,
            has_unread_end=self.has_unread_end,
            named=self.told or path.name,
            by_columns=False,
        )


def called(words: str, stage: Path, cache: str) -> None:
    """Runs a command, without what it has written before."""
    for old in [*stage.glob("out*"), *stage.glob(cache)]:
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a command prints them
        call(words.replace("@", f"{stage}/"))


_EVAL = "--data @data --label blob --output @out --run @run --draws 1 --replicates 100"
_OPENING_DATA = (
    "shards stats @data",
    "shards preview @data --output @out.png",
    "shards subset @data --output @out",
    "shards merge @other @data --output @out",
    "pipeline preview --data @data --output @out.png --size 32",
    "pretrain debug --data @data --output @out",
    f"eval linear --fraction 1 {_EVAL}",
    f"eval knn --fraction 1 {_EVAL}",
    f"eval few-shot --shots 1 {_EVAL}",
    f"eval finetune --fraction 1 --finetune.max-steps 1 --finetune.min-steps 1 {_EVAL}",
    f"eval multimodal --inputs image --fraction 1 --multimodal.max-steps 1 --multimodal.min-steps 1 "
    f"--multimodal.image-tokens 1 {_EVAL}",
    "eval grid @grid.yaml --output @out",
    "eval draws export --data @data --label blob --output @out.parquet",
    "benchmarks loader --data @data --quick --output @out.json",
    "benchmarks step --data @data --quick --output @out.json",
    "benchmarks peers --data @data --quick --output @out.json",
)
_VERIFIED = ("dataset.json", "index.parquet", "rejected.parquet", "train-000000.tar", "train-000000.idx")
_IMPORT = "eval draws import --data @data --label blob --source @list.csv --output @out.parquet"
_TABLE = "shards build --source table --input @images --csv @table.csv --path-column file --output @out --workers 1"
_TRAINED = "pretrain debug --data @data --output @trained --run.epochs 1"
_EVALUATED = "eval knn --run @run --data @data --label blob --fraction 1 --replicates 100"
LINES = (
    *(Line(words, f"data/{name}") for words in _OPENING_DATA for name in ("dataset.json", "index.parquet")),
    Line("shards stats --rejected @data", "data/rejected.parquet"),
    *(Line("shards verify @data --workers 1", f"data/{name}", is_users=True) for name in _VERIFIED),
    Line(f"{_TABLE} --max-rejected 1", "table.csv", told="table", is_users=True, is_anew=True, is_slow=True),
    Line(f"{_TABLE} --pseudonymise @secret.key", "secret.key", is_anew=True),
    Line("train export --run @run --format torchvision --output @out.safetensors", "run/encoder.safetensors"),
    Line(_OPENING_DATA[6], "run/encoder.safetensors"),
    Line("eval grid @grid.yaml --output @out", "grid.yaml", is_users=True),
    Line(f"eval linear --draw-file @draws.parquet --fraction 0.5 {_EVAL.replace(' --draws 1', '')}", "draws.parquet"),
    Line(_IMPORT, "list.csv"),
    Line("eval table @results", "results/results.json"),
    Line("eval report @results --no-images", "results/results.json"),
    Line("pretrain debug --data @data --output @out --run.deepspeed @ds.json", "ds.json", is_users=True),
    Line("pretrain debug --data @data --output @out --encoder.weights @start.pth", "start.pth"),
    Line("pretrain debug --data @data --output @run", "run/config.yaml", may_be_gone=True),
    Line("benchmarks compare @bench/hotpath-cpu.json @bench/hotpath-cpu.json", "bench/hotpath-cpu.json"),
    Line("benchmarks report --results @bench --output @out", "bench/hotpath-cpu.json", may_be_gone=True),
    Line("shards preview @data --output @out.png --columns 10 --rows 10", "data/train-000000.tar", has_unread_end=True),
    Line(
        "pipeline preview --data @data --output @out.png --images 96 --size 32",
        "data/train-000000.tar",
        has_unread_end=True,
    ),
    Line(_OPENING_DATA[6], "data/train-000000.tar", has_unread_end=True, cache="run/eval/features"),
    # What a run or an evaluation left, and may make again. It is told as a warning.
    Line(_TRAINED, "trained/metrics.jsonl", may_be_gone=True, is_anew=True, is_slow=True),
    Line(_TRAINED, "trained/checkpoints/step-00000004/complete.json", is_anew=True, is_slow=True),
    Line(_TRAINED, "trained/checkpoints/step-00000004/state.pt", is_anew=True, is_slow=True),
    Line(_EVALUATED, "run/eval/knn-data-blob/cells/knn/pretrained/1-draw0.npz", is_anew=True, is_slow=True),
    Line(_EVALUATED, "run/eval/knn-data-blob/results.json", is_anew=True, is_slow=True),
)


@pytest.fixture(scope="module")
def stage(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each file that a command opens."""
    folder = tmp_path_factory.mktemp("stage")
    data = a_dataset(tiny_dataset, folder)
    seal(Path(shutil.copytree(tiny_dataset, folder / "other")), name="other")
    config = replace(recipe("debug"), data=(data,), output=folder / "run")
    write_run_folder(config, {}, note="rate")
    encoder = build_encoder("resnet18")
    save_encoder(folder / "run" / "encoder.safetensors", encoder, name="resnet18", views=ViewSpec(size=32))
    torch.save({"state_dict": encoder.state_dict()}, folder / "start.pth")
    grid = {"data": [str(data)], "label": ["blob"], "starts": {"a": "random", "b": str(folder / "run")}}
    grid |= {"readout": "knn", "fraction": [1], "replicates": 100}
    (folder / "grid.yaml").write_bytes(as_yaml(grid))
    call(f"eval draws export --data {data} --label blob --fraction 0.5 --output {folder}/draws.parquet")
    csv.write_csv(pq.read_table(folder / "draws.parquet").drop_columns("dataset"), folder / "list.csv")
    write_patterns(folder / "images", {"a": 4})
    names = [path.relative_to(folder / "images").as_posix() for path in sorted((folder / "images").rglob("*.png"))]
    (folder / "table.csv").write_text("file\n" + "\n".join(names) + "\n")
    (folder / "secret.key").write_bytes(b"k" * 40)
    (folder / "ds.json").write_bytes(as_json({"gradient_clipping": 1.0, "zero_optimization": {"stage": 1}}))
    (folder / "bench").mkdir()
    for name in ("hotpath-cpu.json", "index-cpu.json"):
        shutil.copy(ROOT / "benchmarks/results" / name, folder / "bench")
    return folder


@pytest.fixture
def results(stage: Path, comparison: Comparison) -> None:  # noqa: F811
    if not (stage / "results").exists():
        save_comparison(comparison, stage / "results")


@pytest.mark.parametrize("number", [number for number, line in enumerate(LINES) if not line.is_slow])
def test_a_command_names_a_damaged_file(stage: Path, results: None, number: int) -> None:
    reader = LINES[number].reader(stage)
    with kept(reader.path):
        damages = list(reader.biting())
        for turn in range(NUM_QUICK):  # others for each line
            name, damage = damages[(NUM_QUICK * number + turn) % len(damages)]
            apply(damage, reader.path)
            said = outcome(reader)
            assert said is not None or reader.is_anew, name
            if said is not None:
                assert_told(reader, name, said)


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.words.split()[:2]}-{line.file}")
def test_commands_name_each_damaged_file(stage: Path, results: None, line: Line) -> None:
    if not (stage / line.file).exists():
        call(line.words.replace("@", f"{stage}/"))
    reader = line.reader(stage)
    with kept(reader.path):
        drive(reader, thorough=False)


@contextlib.contextmanager
def kept(path: Path) -> Iterator[None]:
    content = path.read_bytes()
    try:
        yield
    finally:
        apply(lambda path: path.write_bytes(content), path)
