"""Files that are only a little broken: whoever reads one says so in a line that names it, and never more."""

import io
import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from benchmarks.measuring.result import read_result
from eval.grid.file import read_grid
from eval.report.tables import render
from eval.results.file import load_comparison, save_comparison
from eval.study.cells import Cell, CellKey, cell_path, load_cell, save_cell
from eval.study.draws import import_draws
from eval.study.features import _stored_features
from pipeline.views import ViewSpec
from shards.base.atomic import begin_folder
from shards.checks.rejected import rejected_text
from shards.checks.verify import verify_dataset
from shards.index import ShardIndex
from shards.packing.output import check_output
from tests.conftest import ROOT
from tests.damage import Reader, as_json, as_lines, as_yaml, drive
from tests.eval.conftest import comparison  # noqa: F401
from train.checkpoints.mark import read_run_mark
from train.checkpoints.snapshot import seal, write_tensors
from train.encoders.build import build_encoder
from train.encoders.file import read_encoder_file
from train.encoders.saved import encoder_header as about_encoder
from train.encoders.saved import save_encoder
from train.run.folder import write_run_folder
from train.run.metrics_file import last_values, read_metrics
from train.settings.deepspeed import read_own_json
from train.settings.recipes import recipe
from train.settings.run_folder import check_run_folder


def a_dataset(tiny: Path, folder: Path) -> Path:
    return Path(shutil.copytree(tiny, folder / "data"))


def dataset_json(folder: Path, tiny: Path, _: Any) -> Reader:
    data = a_dataset(tiny, folder)
    path = data / "dataset.json"
    return Reader(path, lambda: ShardIndex.open(data), json.loads(path.read_text()))


def verified(folder: Path, tiny: Path, _: Any) -> Reader:
    data = a_dataset(tiny, folder)
    path = data / "dataset.json"
    return Reader(path, lambda: verify_dataset(data, workers=1), json.loads(path.read_text()), is_anew=True)


def index_parquet(folder: Path, tiny: Path, _: Any) -> Reader:
    data = a_dataset(tiny, folder)
    return Reader(data / "index.parquet", lambda: ShardIndex.open(data))


def unlisted_index_parquet(folder: Path, tiny: Path, _: Any) -> Reader:
    """Of an early version, which listed no checksums."""
    data = a_dataset(tiny, folder)
    about = json.loads((data / "dataset.json").read_text())
    early = {name: about[name] for name in about if name not in ("files", "digest")}
    (data / "dataset.json").write_text(json.dumps(early))

    def read() -> None:
        index = ShardIndex.open(data)
        index.fraction(0.5), index.sizes(), index.labels("blob"), index.where(split="train").patients()

    return Reader(data / "index.parquet", read)


def rejected_parquet(folder: Path, tiny: Path, _: Any) -> Reader:
    data = a_dataset(tiny, folder)
    return Reader(data / "rejected.parquet", lambda: rejected_text([data]))


def config_yaml(folder: Path, *_: Any) -> Reader:
    config = replace(recipe("debug"), data=("data",), output=folder / "run")
    write_run_folder(config, {}, note="rate")
    path = folder / "run" / "config.yaml"
    return Reader(path, lambda: check_run_folder(config), yaml.safe_load(path.read_text()), as_yaml, may_be_gone=True)


def metrics_jsonl(folder: Path, *_: Any) -> Reader:
    path = folder / "metrics.jsonl"
    lines = [{"step": step, "epoch": 0.5, "loss": 1.0, "warnings": {"a": "b"}} for step in range(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Reader(path, lambda: last_values(read_metrics(path)), lines, as_lines, may_be_gone=True, is_anew=True)


def complete_json(folder: Path, *_: Any) -> Reader:
    part = begin_folder(folder / "step-00000001")
    write_tensors(part / "state.pt", {"a": torch.zeros(2)})
    place = {"seed": 0, "epoch": 1, "position": 2}
    seal(folder / "step-00000001", {"step": 1, "batch": 2, "loader": place, "num_ranks": 1, "data": [1], "score": None})
    path = folder / "step-00000001" / "complete.json"
    return Reader(path, lambda: read_run_mark(path.parent), json.loads(path.read_text()))


def checkpoint_header(folder: Path, *_: Any) -> Reader:
    """Of a checkpoint whose encoder is asked for."""
    encoder, step = build_encoder("resnet18"), folder / "step-00000001"
    header = about_encoder(encoder, name="resnet18", views=ViewSpec(), trained_on={"a": ["train"]}, step=1)
    part = begin_folder(step)
    write_tensors(part / "state.pt", {"method": {"model.encoder.a": torch.zeros(1)}})
    write_tensors(part / "rank-00000.pt", {"buffers": {}})
    seal(step, {"step": 1, "header": header})
    path = step / "complete.json"
    return Reader(path, lambda: read_encoder_file(step), json.loads(path.read_text()), named=step.name)


def encoder_header(folder: Path, *_: Any) -> Reader:
    path = folder / "encoder.safetensors"
    save_encoder(path, build_encoder("resnet18"), name="resnet18", views=ViewSpec(), trained_on={"a": ["train"]})
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header = {"__metadata__": header["__metadata__"], "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    values = {name: json.loads(value) for name, value in header["__metadata__"].items() if "digest" not in name}

    def dump(meta: Any) -> bytes:
        said = {name: json.dumps(value) for name, value in meta.items()} if isinstance(meta, dict) else meta
        text = json.dumps(header | {"__metadata__": said}).encode()
        return struct.pack("<Q", len(text)) + text + bytes(4)

    path.write_bytes(dump(values))
    return Reader(path, lambda: read_encoder_file(path), values, dump)


def results_json(folder: Path, _: Any, made: Any) -> Reader:
    path = save_comparison(made, folder / "results")

    def read() -> None:
        for form in ("text", "markdown", "latex", "csv"):
            render([load_comparison(path.parent)], form, metric="auroc", subgroups=form != "csv")

    return Reader(path, read, json.loads(path.read_text()))


def unsealed_results_json(folder: Path, _: Any, made: Any) -> Reader:
    """Of an earlier version, which had no digest."""
    reader = results_json(folder, _, made)
    del reader.fields["digest"]
    reader.path.write_text(json.dumps(reader.fields))
    return reader


def a_cell(folder: Path, *_: Any) -> Reader:
    key = CellKey(readout="linear", start="a", fraction=1.0, draw=0)
    scores = np.zeros((3, 1), np.float32)
    rows = np.arange(3)
    cell = Cell(
        key=key, fingerprint="f", labels=("L",), test_rows=rows, scores=scores, valid_rows=rows, valid_scores=scores,
        num_patients=1, num_images=[1], num_positives=[1], is_extended=False,
    )  # fmt: skip
    path = save_cell(folder, cell)
    with np.load(path) as stored:
        arrays = dict(stored)
    about = json.loads(str(arrays.pop("about")))

    def dump(value: Any) -> bytes:
        file = io.BytesIO()
        np.savez(file, about=np.array(json.dumps(value)), **arrays)
        return file.getvalue()

    assert cell_path(folder, key) == path
    return Reader(path, lambda: load_cell(folder, key), about, dump, is_anew=True)


def draws_parquet(folder: Path, tiny: Path, _: Any) -> Reader:
    train = ShardIndex.open(tiny).where(split="train")
    path = folder / "draws.parquet"
    table = train.table.select(["dataset", "key"]).slice(0, 4)
    for name, values in (("fraction", [0.1] * 4), ("draw", [0] * 4)):
        table = table.append_column(name, [values])
    pq.write_table(table, path)
    return Reader(path, lambda: import_draws(path, train))


def grid_yaml(folder: Path, tiny: Path, _: Any) -> Reader:
    path = folder / "grid.yaml"
    fields = {"data": [str(tiny)], "label": ["blob"], "starts": {"a": "random", "b": ["imagenet"]}, "jobs": 1}
    fields |= {"fraction": [0.1], "finetune": {"lr": 0.1}}
    path.write_bytes(as_yaml(fields))
    return Reader(path, lambda: read_grid(path), fields, as_yaml, is_users=True)


def deepspeed_json(folder: Path, *_: Any) -> Reader:
    path = folder / "ds.json"
    fields = {"gradient_clipping": 1.0, "zero_optimization": {"stage": 1}, "bf16": {"enabled": False}}
    path.write_bytes(as_json(fields))
    return Reader(path, lambda: read_own_json(path), fields, is_users=True)


def benchmark_json(folder: Path, *_: Any) -> Reader:
    path = folder / "hotpath-cpu.json"
    shutil.copy(ROOT / "benchmarks/results/hotpath-cpu.json", path)
    fields = json.loads(path.read_text())
    fields["comparisons"] = fields["comparisons"][:1]
    return Reader(path, lambda: read_result(path), fields)


def plan_json(folder: Path, *_: Any) -> Reader:
    path = folder / "out" / ".build" / "plan.json"
    path.parent.mkdir(parents=True)
    fields = {"options": "o", "source": "s", "tools": {"python": "3"}}
    path.write_bytes(as_json(fields))
    plan: Any = SimpleNamespace(options="o", source="s")
    tools = {"python": "3"}
    return Reader(path, lambda: check_output(folder / "out", plan, tools), fields, may_be_gone=True, named="out")


def stored_features(folder: Path, *_: Any) -> Reader:
    path = folder / "features.npy"
    np.save(path, np.zeros((4, 2), np.float32))
    return Reader(path, lambda: _stored_features(path, 4), is_anew=True)


READERS = (
    *(dataset_json, verified, index_parquet, unlisted_index_parquet, rejected_parquet, config_yaml, metrics_jsonl),
    *(
        complete_json,
        checkpoint_header,
        encoder_header,
        results_json,
        unsealed_results_json,
        a_cell,
        draws_parquet,
        grid_yaml,
    ),
    *(deepspeed_json, benchmark_json, plan_json, stored_features),
)


@pytest.mark.parametrize("make", [make for make in READERS if make is not verified])
def test_a_damage_is_a_line(make: Any, tmp_path: Path, tiny_dataset: Path, comparison: Any) -> None:  # noqa: F811
    drive(make(tmp_path, tiny_dataset, comparison), thorough=False)


@pytest.mark.slow
@pytest.mark.parametrize("make", READERS)
def test_every_damage_is_a_line(make: Any, tmp_path: Path, tiny_dataset: Path, comparison: Any) -> None:  # noqa: F811
    drive(make(tmp_path, tiny_dataset, comparison), thorough=True)
