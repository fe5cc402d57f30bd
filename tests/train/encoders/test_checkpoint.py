"""The encoder in a checkpoint, of a run that has finished or not; ``tests/train/test_pretrain.py`` has whole runs."""

import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shards.base.atomic import begin_folder
from shards.base.errors import InputError
from tests.train.encoders.test_saved import VIEWS, trained
from train.checkpoints.snapshot import seal, write_tensors
from train.encoders.build import build_encoder
from train.encoders.checkpoint import read_checkpoint
from train.encoders.file import FILES, is_kept, is_ours, read_encoder_file
from train.encoders.saved import encoder_header, load_encoder
from train.encoders.seen import FILE, Seen, load_seen, save_seen
from train.encoders.weights import read_start

PLACE = {"step": 6, "batch": 6, "loader": {"seed": 0, "epoch": 0, "position": 0}, "num_ranks": 2, "data": []}
State = dict[str, Tensor]


def small() -> nn.Module:
    """Of the names and shapes of a few layers; enough where nothing is built."""
    encoder: Any = nn.Sequential(OrderedDict(conv1=nn.Conv2d(1, 4, 3), bn1=nn.BatchNorm2d(4)))
    encoder.num_features = 512
    return encoder


def write(folder: Path, encoder: nn.Module, *, norm: str = "batch", key: bool = True, **header: Any) -> State:
    """A checkpoint as train/run/checkpoint.py writes it, of two ranks; returns the state of its encoder."""
    buffers = dict(encoder.named_buffers())
    weights = {name: value for name, value in encoder.state_dict().items() if name not in buffers}
    prefixes = ("model.encoder.", "target.encoder.") if key else ("model.encoder.",)
    part = begin_folder(folder)
    for rank in range(2):
        moved = {name: value + rank for name, value in buffers.items()}
        own = {f"{prefix}{name}": value for prefix in prefixes for name, value in moved.items()}
        write_tensors(part / f"rank-{rank:05d}.pt", {"buffers": own, "random": torch.get_rng_state()})
    method = {
        f"{prefix}{name}": value * factor
        for factor, prefix in enumerate(prefixes, start=1)
        for name, value in weights.items()
    }
    write_tensors(part / "state.pt", {"method": method | {"negatives.keys": torch.zeros(4, 2)}, "optimizer": {}})
    made = encoder_header(encoder, name="resnet18", views=VIEWS, norm=norm, trained_on={"f": ["train"]}, step=6)
    seal(folder, {**PLACE, "score": None, "method": "moco_v2", "header": made | header})
    return encoder.state_dict()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """In the folder of a run that has not finished."""
    folder = tmp_path / "run" / "checkpoints" / "step-00000006"
    about = save_seen_of(tmp_path / "run")
    write(folder, small(), seen=about["seen"])
    return folder


def save_seen_of(run: Path) -> dict[str, Any]:
    run.mkdir()
    return save_seen(run, Seen(images=torch.arange(3).numpy().astype("u8")))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_weights_and_the_leading_rank_s_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, norm: str) -> None:
    expected = write(tmp_path / "step-00000006", trained(norm), norm=norm, key=False)
    loaded = load_encoder(tmp_path / "step-00000006")
    assert (loaded.name, loaded.views, loaded.metadata["step"], loaded.metadata["norm"]) == ("resnet18", VIEWS, 6, norm)
    state = loaded.encoder.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    monkeypatch.chdir(tmp_path / "step-00000006")
    started = build_encoder("resnet18", weights=".", norm=norm).state_dict()
    assert all(torch.equal(started[name], expected[name]) for name in expected)
    with pytest.raises(InputError, match="keeps no momentum copy; leave --which away"):
        load_encoder(tmp_path / "step-00000006", "key")


def test_however_it_is_named(checkpoint: Path, tmp_path: Path) -> None:
    expected = read_encoder_file(checkpoint).tensors
    (tmp_path / "best").symlink_to(checkpoint)
    shutil.copytree(checkpoint, tmp_path / "kept")
    for path in (checkpoint / "state.pt", checkpoint / "rank-00001.pt", tmp_path / "best", tmp_path / "kept"):
        assert is_ours(path)
        found = read_start(str(path), "resnet18")
        assert found is not None
        assert found.format == "checkpoint of a former run, step 6"
        assert all(torch.equal(found.tensors[name], expected[name]) for name in expected)


def test_the_momentum_copy(checkpoint: Path) -> None:
    query, key = (read_checkpoint(checkpoint, which)[0] for which in FILES)
    assert query.keys() == key.keys() == small().state_dict().keys()
    assert torch.equal(key["conv1.weight"], 2 * query["conv1.weight"])
    assert torch.equal(key["bn1.running_mean"], query["bn1.running_mean"])


def test_what_was_seen_lies_in_the_run_folder(checkpoint: Path, tmp_path: Path, capsys) -> None:
    assert (tmp_path / "run" / FILE).is_file()
    (tmp_path / "best").symlink_to(checkpoint)
    for path in (checkpoint, tmp_path / "best"):
        file = read_encoder_file(path)
        assert load_seen(file.path, file.metadata).images.tolist() == [0, 1, 2]
    assert not capsys.readouterr().err
    file = read_encoder_file(shutil.copytree(checkpoint, tmp_path / "alone"))
    assert load_seen(file.path, file.metadata).trained_on == {"f": ["train"]}
    assert f"note: {tmp_path}/alone/{FILE} is missing: whether alone saw" in capsys.readouterr().err


def test_an_unfinished_run_names_a_checkpoint(checkpoint: Path) -> None:
    run = checkpoint.parent.parent
    for path in (run, run / "checkpoints"):
        with pytest.raises(InputError, match=rf"repeat its command, or give a checkpoint, such as {checkpoint}"):
            load_encoder(path)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no mark": (lambda folder: (folder / "complete.json").unlink(), "complete.json: no such file"),
    "no state": (lambda folder: (folder / "state.pt").unlink(), "state.pt: No such file"),
    "no rank": (lambda folder: (folder / "rank-00000.pt").unlink(), "rank-00000.pt: No such file"),
    "cut": (lambda folder: cut(folder / "state.pt"), "state.pt is not of"),
    "a byte": (lambda folder: flip(folder / "rank-00000.pt"), "rank-00000.pt does not have its checksum"),
    "mark": (lambda folder: flip(folder / "complete.json"), "complete.json: "),
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()], "complete.json: no such file"),
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_one_line(checkpoint: Path, damage: str) -> None:
    do, why = DAMAGES[damage]
    do(checkpoint)
    for read in (load_encoder, lambda path: read_start(path, "resnet18")):
        with pytest.raises(InputError) as caught:
            read(str(checkpoint))
        assert str(caught.value).startswith(f"encoder {checkpoint}: the checkpoint is damaged: {why}")
        assert str(caught.value).endswith("; give another one of the run")
        assert "\n" not in str(caught.value)


def test_checkpoints_of_something_else_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000003"
    write_tensors(begin_folder(folder) / "state.pt", {"model": {}})
    seal(folder, {"step": 3})
    with pytest.raises(InputError, match="does not say what encoder it holds: it is of fine-tuning, or of an earlier"):
        load_encoder(folder)
    header = encoder_header(small(), name="resnet18", views=VIEWS)
    for name, content in (("state.pt", [1]), ("rank-00000.pt", {"random": 0})):
        part = begin_folder(folder)
        write_tensors(part / "state.pt", {"method": {}})
        write_tensors(part / "rank-00000.pt", {"buffers": {}})
        write_tensors(part / name, content)  # type: ignore[arg-type]
        seal(folder, {"step": 3, "header": header})
        with pytest.raises(InputError, match=f"damaged: {name} holds no "):
            read_checkpoint(folder, "query")
    seal_again(folder, {"step": 3, "header": header | {"name": "resnet19"}})
    with pytest.raises(InputError, match="its header is damaged: name"):
        load_encoder(folder)


def seal_again(folder: Path, mark: dict[str, Any]) -> None:
    part = begin_folder(folder)
    write_tensors(part / "state.pt", {"method": {"model.encoder.a": torch.zeros(1)}})
    write_tensors(part / "rank-00000.pt", {"buffers": {}})
    seal(folder, mark)


def test_another_encoder_s_checkpoint_is_refused_by_name(checkpoint: Path) -> None:
    with pytest.raises(InputError, match=f"encoder.weights {checkpoint}: is a resnet18, not a resnet50; give"):
        read_start(str(checkpoint / "state.pt"), "resnet50")


def test_files_that_runs_are_read_from_are_kept(checkpoint: Path, tmp_path: Path) -> None:
    run = checkpoint.parent.parent
    for name in ("state.pt", "rank-00000.pt", "complete.json", "new.safetensors"):
        assert is_kept(checkpoint / name)
    assert not is_kept(run / "encoder.safetensors")
    (run / "config.yaml").touch()
    assert is_kept(run / "encoder.safetensors")
    assert is_kept(run / FILE)
    (tmp_path / "damaged.safetensors").write_text("x")
    assert not any(map(is_kept, (run / "timm.pth", tmp_path / "damaged.safetensors", tmp_path / "none" / "a.pth")))
