"""No file that is given to a command, or lies where a command reads, runs code: not a pickle, nor a model's own module.

Every kind of file that the project reads back is here, with the code of an attacker in it: it makes the file ``ran``.
"""

import ast
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from eval.multimodal.config import MultimodalConfig
from eval.multimodal.file import load_multimodal
from eval.multimodal.model import build_text_model
from eval.multimodal.tokenizer import build_tokenizer
from eval.study.cells import CellKey, cell_path, load_cell
from shards.base.dataclass_io import from_yaml
from shards.base.errors import InputError
from shards.base.stored import _PlainLoader
from shards.index import ShardIndex
from tests.conftest import ROOT
from tests.eval.multimodal.test_model import save_pretrained
from tests.shards.sealed import seal
from train.checkpoints.snapshot import BrokenSnapshot, read_tensors
from train.encoders.build import build_encoder
from train.encoders.saved import load_encoder
from train.settings.config import PretrainConfig

RAN = "ran"


class Attack:
    def __reduce__(self):
        return (os.mkdir, (RAN,))


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path(RAN).exists()


def test_the_attack_works():
    pickle.loads(pickle.dumps(Attack()))
    Path(RAN).rmdir()


def zipped(path: Path, content: bytes, name: str = "about") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.npy", content)
    return path


def npy(tmp_path: Path) -> bytes:
    np.save(tmp_path / "attack.npy", np.array([Attack()], dtype=object), allow_pickle=True)
    return (tmp_path / "attack.npy").read_bytes()


@pytest.mark.parametrize("name", ["start.pth", "start.pth.tar", "start.pt", "start.bin", "encoder.safetensors"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_weights(tmp_path, name, is_zip):
    torch.save({"state_dict": {}, "extra": Attack()}, tmp_path / name, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(InputError, match=f"{name}: (holds Python objects|is no safetensors)"):
        build_encoder("resnet18", weights=str(tmp_path / name))
    (tmp_path / name).write_bytes(pickle.dumps(Attack()))
    with pytest.raises(InputError):
        build_encoder("resnet18", weights=str(tmp_path / name))


def test_an_encoder_file(tmp_path):
    (tmp_path / "encoder.safetensors").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(InputError, match="is no safetensors file"):
        load_encoder(tmp_path)


def test_a_checkpoint_of_a_run(tmp_path):
    torch.save({"model": Attack()}, tmp_path / "state.pt")
    content = (tmp_path / "state.pt").read_bytes()
    import zlib

    with pytest.raises(BrokenSnapshot):
        read_tensors(tmp_path, "state.pt", {"files": {"state.pt": (len(content), zlib.crc32(content))}})


def test_a_stored_cell(tmp_path):
    key = CellKey(readout="linear", start="a", fraction=1.0, draw=0)
    path = cell_path(tmp_path, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    zipped(path, npy(tmp_path))
    assert load_cell(tmp_path, key) is None


def test_settings(tmp_path):
    with pytest.raises(InputError):
        from_yaml(PretrainConfig, f"!!python/object/apply:os.mkdir [{RAN}]")


def test_an_index(tiny_dataset, tmp_path):
    import shutil

    copied = shutil.copytree(tiny_dataset, tmp_path / "copy")
    table = pq.read_table(copied / "index.parquet")
    extension = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Attack())}
    field = pa.field("key", pa.string(), metadata=extension)
    schema = table.schema.set(table.column_names.index("key"), field)
    pq.write_table(table.cast(schema), copied / "index.parquet")
    seal(copied)
    assert len(ShardIndex.open(copied).column("key")) == 96


@pytest.fixture
def hostile(tmp_path):
    """A text model that says to need a module beside it."""
    folder = save_pretrained(tmp_path / "bert", "bert")
    for name, classes in {
        "config.json": {"AutoModel": "own.Own", "AutoConfig": "own.Own"},
        "tokenizer_config.json": {"AutoTokenizer": ["own.Own", "own.Own"]},
    }.items():
        about = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(about | {"auto_map": classes}))
    (folder / "own.py").write_text(f"import os\nos.mkdir({RAN!r})\nclass Own: pass\n")
    return folder


CONFIG = {"layers": 2, "width": 16, "heads": 2, "max_tokens": 8}


def test_a_text_model_with_a_module_of_its_own(hostile, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks a terminal
    tokenizer = build_tokenizer(str(hostile), [], vocabulary=100)
    build_text_model(MultimodalConfig(text_model=str(hostile), **CONFIG), tokenizer)
    about = json.loads((hostile / "config.json").read_text())
    (hostile / "config.json").write_text(json.dumps(about | {"model_type": "own"}))
    with pytest.raises(InputError, match="needs code of its own, which is never run") as caught:
        build_text_model(MultimodalConfig(text_model=str(hostile), **CONFIG), tokenizer)
    assert "trust_remote_code" not in str(caught.value)


def test_a_text_model_as_a_pickle(tmp_path):
    folder = save_pretrained(tmp_path / "bert", "bert")
    tokenizer = build_tokenizer(str(folder), [], vocabulary=100)
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.bin", "tf_model.h5"):
        torch.save(Attack(), folder / name)
    with pytest.raises(InputError, match="cannot be loaded .*safetensors weights"):
        build_text_model(MultimodalConfig(text_model=str(folder), **CONFIG), tokenizer)


def test_a_trained_classifier(hostile, tmp_path):
    (tmp_path / "multimodal.safetensors").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(InputError):
        load_multimodal(tmp_path)


LOADERS = {"load", "load_state_dict_from_url", "from_pretrained", "from_config", "get_state_dict"}
SAFE = re.compile(r"weights_only=True|allow_pickle=False|trust_remote_code=False|safe_load|_PlainLoader|^json\.")
# A program of torch is code: it is read back from the bytes just made of it, to be compared.
MADE_HERE = "torch.export.load(io.BytesIO(file.getvalue()))"
# A recipe in Python is what its user names to be run.
RECIPE = ROOT / "train" / "settings" / "own_recipe.py"
OURS = re.compile(r"^(?!torch|np|numpy|yaml|pickle|joblib|Auto|.*enumeration)")


def test_the_loader_of_yaml_is_the_safe_one():
    assert issubclass(_PlainLoader, yaml.SafeLoader)


def test_every_loader_says_that_it_runs_nothing():
    """Of modules that can: pickle, torch, numpy, YAML, joblib, transformers."""
    found = []
    for path in [
        each for name in ("shards", "pipeline", "train", "eval", "benchmarks") for each in ROOT.glob(f"{name}/**/*.py")
    ]:
        # pickles between two processes of ours, through a pipe
        if path.is_relative_to(ROOT / "shards" / "sandbox") or path == RECIPE:
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                found += [
                    f"{path}: {name}" for name in names if name.split(".")[0] in ("pickle", "dill", "shelve", "marshal")
                ]
            if isinstance(node, ast.Call):
                text = ast.unparse(node)
                name = text.partition("(")[0]
                if (
                    name.rpartition(".")[2] in LOADERS
                    and not OURS.match(name)
                    and not SAFE.search(text)
                    and MADE_HERE not in text
                ):
                    found.append(f"{path}:{node.lineno}: {text}")
                if name in (
                    "eval",
                    "exec",
                    "compile",
                    "yaml.load",
                    "yaml.unsafe_load",
                    "joblib.load",
                ) and not SAFE.search(text):
                    found.append(f"{path}:{node.lineno}: {text}")
    assert not found
