"""Models of the hub, from its stand-in: one that timm has written, and encoders of ours."""

from pathlib import Path

import pytest
import timm
import torch

from eval.foreign.contract import open_foreign
from eval.foreign.kinds import is_foreign, title_of
from eval.study.starts import build_starts
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from tests.train.export.hub import Hub, serving
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder
from train.export.hub_folder import write_encoder_folder

VIEWS = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def put(hub: Hub, name: str, folder: Path) -> None:
    hub.files[name] = {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_hub_is_a_kind_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    network = timm.create_model("resnet18", num_classes=0).eval()
    timm.models.save_for_hf(network, str(tmp_path / "theirs"), safe_serialization=True)
    encoder = build_encoder("resnet18", seed=3).eval()
    views = ViewSpec(size=64, mean=0.4, std=0.2)
    metadata = {"norm": "batch", "trained_on": {"a": ["train"]}}
    ours = LoadedEncoder(encoder=encoder, name="resnet18", views=views, metadata=metadata)
    write_encoder_folder(ours, tmp_path / "ours", card="card")
    assert is_foreign("hf-hub:ward/cxr")
    assert title_of("hub:ward/cxr") == "cxr"
    with serving() as hub, torch.no_grad():
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        put(hub, "ward/theirs", tmp_path / "theirs")
        put(hub, "ward/ours", tmp_path / "ours")
        model = open_foreign("hub:ward/theirs")
        assert (model.views.size, model.num_features) == (224, 512)
        (theirs,) = build_starts({"theirs": ("hub:ward/theirs",)})["theirs"].encoders
        assert "gray in 3 channels" in theirs.about, "what it was trained on is not known"
        (start,) = build_starts({"ours": ("hub:ward/ours",)})["ours"].encoders
        assert (start.seen.trained_on, start.about) == ({"a": ["train"]}, "")
        model = open_foreign("hf-hub:ward/ours")
        assert (model.views.size, model.views.mean, model.views.std) == (64, 0.4, 0.2)
        torch.testing.assert_close(model.encoder(VIEWS), encoder(VIEWS))
        with pytest.raises(InputError, match="start hub:ward/none: could not be had .*hf auth login"):
            open_foreign("hub:ward/none")
