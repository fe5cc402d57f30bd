"""Networks of timm as encoders: what each can do, and which are refused."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import EvoNorm2dB0
from torch import nn

from eval.classifier.network import ImageClassifier
from eval.finetune.config import FinetuneConfig
from eval.finetune.model import parameter_groups
from eval.report.saliency import grad_cam
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from tests.train.methods.conftest import Rows
from train.encoders.build import build_encoder
from train.encoders.norms import SplitBatchNorm, group_norm, has_batch_norm, split_batchnorm, sync_batchnorm
from train.encoders.places import last_map
from train.encoders.saved import load_encoder, save_encoder
from train.encoders.zoo import check_encoder
from train.engine.precision import autocast
from train.export.formats import export_encoder
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.methods.embedder import check_network
from train.ranks.world import World
from train.settings.config import EncoderConfig, MethodConfig, NormConfig, PretrainConfig, RunConfig

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
FAST = {"test_convnext": 32, "test_vit": 48, "resnet10t": 32}
SLOW = {
    "tf_efficientnet_lite0": 64,  # at 32 px its batch norms see two values, and gradients of 1e34 in bf16
    "densenet121": 32,
    "regnetx_002": 32,
    "mobilenetv3_small_050": 32,
    "repvgg_a0": 32,
    "swin_tiny_patch4_window7_224": 64,
    "levit_128s": 64,
    "poolformer_s12": 32,
    "xcit_nano_12_p16_224": 64,
    "mixer_s32_224": 64,
    "nf_regnet_b0": 32,
    "efficientformerv2_s0": 64,
    "edgenext_xx_small": 64,
}
"""By name in timm: pixels of the views."""
NETWORKS = [
    *(pytest.param(f"timm:{name}", size, id=name) for name, size in FAST.items()),
    *(pytest.param(f"timm:{name}", size, id=name, marks=pytest.mark.slow) for name, size in SLOW.items()),
]


def config_of(name: str, size: int, *, precision: Any = "fp32", strategy: Any = "auto") -> PretrainConfig:
    return PretrainConfig(
        views=ViewSpec(size=size),
        encoder=EncoderConfig(name=name),
        method=MethodConfig(embedding=32, queue_size=32),
        norm=NormConfig(strategy=strategy),
        run=RunConfig(batch_size=8, precision=precision),
    )


def method_of(config: PretrainConfig) -> Any:
    index: Any = Rows(np.arange(64), patients=lambda: np.arange(64) // 2)
    return build_method(config, WORLD, TrainingData(index))


def objective(method: Any, config: PretrainConfig, number: int) -> Any:
    size = config.views.size
    first, second = torch.randn(2, 8, 1, size, size, generator=torch.Generator().manual_seed(number))
    method.before_step(0.0)
    with autocast(config.run.precision, WORLD.device):
        return method.objective(method.model, (first, second), rows=torch.arange(0, 16, 2), batch=number)


def step(method: Any, config: PretrainConfig, number: int) -> None:
    loss = objective(method, config, number).loss
    loss.backward()
    method.after_backward()
    with torch.no_grad():
        for parameter in method.model.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
                parameter.grad = None


def run_usage(usage: str) -> nn.Module:
    """What the printed code makes, with plain timm."""
    names: dict[str, object] = {"torch": torch, "timm": timm}
    exec(usage, names)
    model = names["model"]
    assert isinstance(model, nn.Module)
    return model.eval()


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_contract(tmp_path: Path, name: str, size: int) -> None:
    check_encoder(name, size)
    config = config_of(name, size)
    assert ("no batch norm" in check_network(config, WORLD)) is not has_batch_norm(build_encoder(name, size=size))
    method, other = method_of(config), method_of(config)

    # one step of MoCo v2, in both precisions
    step(method, config, 0)
    half = config_of(name, size, precision="bf16")
    step(method, half, 1)
    found = objective(method, half, 2)
    assert found.loss.isfinite()
    assert found.loss.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in method.parameters())
    assert found.features.shape == (8, method.model.encoder.num_features)

    # state saved and restored: the other goes on bit for bit
    other.load_state_dict(method.shared_state() | method.rank_state())
    losses = [objective(each, config, 3).loss for each in (method, other)]
    assert torch.equal(*losses)

    # what is written gives the same features, by us and by plain timm
    encoder = method.model.encoder.eval()
    gray = torch.randn(3, 1, size, size)
    with torch.no_grad():
        expected = encoder(gray)
        assert expected.std() > 1e-4
        views = config.views
        save_encoder(tmp_path / "encoder.safetensors", encoder, name=name, views=views, norm=encoder.norm_name)
        loaded = load_encoder(tmp_path)
        assert torch.equal(loaded.encoder(gray), expected) or torch.allclose(loaded.encoder(gray), expected, atol=1e-6)
        usage = export_encoder(loaded, tmp_path / "timm.safetensors", format="timm").usage
        torch.testing.assert_close(run_usage(usage)(gray), expected)

    # its places and its stages are known
    maps = grad_cam(encoder, name, gray, np.random.default_rng(0).normal(size=encoder.num_features))
    assert maps.shape[0] == 3
    assert np.abs(maps).max() > 0
    groups = parameter_groups(ImageClassifier(encoder, 1, seed=0), FinetuneConfig(layer_decay=0.5))
    assert len({group["factor"] for group in groups}) > 3


@pytest.mark.parametrize("strategy", ["split", "group", "shuffle"])
@pytest.mark.parametrize(
    "name", ["timm:test_efficientnet", pytest.param("timm:tf_efficientnet_lite0", marks=pytest.mark.slow)]
)
def test_norms_keep_the_activation_that_they_hold(name: str, strategy: str) -> None:
    encoder: Any = method_of(config_of(name, 32, strategy="plain" if strategy == "shuffle" else strategy)).model.encoder
    plain: Any = build_encoder(name, size=32, norm="group" if strategy == "group" else "batch")
    assert any(isinstance(module, SplitBatchNorm) for module in encoder.modules()) is (strategy == "split")
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    held = {key: type(module.act) for key, module in plain.named_modules() if hasattr(module, "act")}
    assert {key: type(module.act) for key, module in encoder.named_modules() if hasattr(module, "act")} == held
    assert nn.Identity in held.values()
    assert len(set(held.values())) > 1
    gray = torch.randn(4, 1, 32, 32)
    torch.testing.assert_close(encoder.eval()(gray), plain.eval()(gray))


def test_split_norm_with_activation_is_the_networks_own_on_each_group() -> None:
    name = "timm:test_efficientnet"
    split, plain = method_of(config_of(name, 32)).model.encoder, build_encoder(name, size=32)
    gray = torch.randn(16, 1, 32, 32)
    with torch.no_grad():
        expected = torch.cat([plain.train()(part) for part in gray.chunk(4)])
        torch.testing.assert_close(split.train()(gray), expected)


def test_group_norm_has_groups_of_two_channels_or_more() -> None:
    encoder = build_encoder("timm:tf_efficientnet_lite0", norm="group")
    norms = [module for module in encoder.modules() if isinstance(module, nn.GroupNorm)]
    assert norms
    assert all(2 <= norm.num_groups <= 32 and norm.num_channels >= 2 * norm.num_groups for norm in norms)
    assert not has_batch_norm(encoder)


def test_a_norm_of_the_batch_that_is_none_of_torch_is_refused_where_it_would_leak() -> None:
    for convert in (functools.partial(split_batchnorm, num_groups=2), group_norm, sync_batchnorm):
        with pytest.raises(InputError, match="EvoNorm2dB0, takes statistics of the batch.*encoder.name, or norm.strat"):
            convert(nn.Sequential(nn.Conv2d(1, 8, 3), EvoNorm2dB0(8)))
    assert check_network(config_of("timm:test_vit", 48), WORLD) == (
        "note: timm:test_vit has no batch norm, so norm.strategy split is for the heads alone"
    )
    assert not check_network(config_of("resnet18", 48), WORLD)


def test_nothing_in_it_is_random() -> None:
    """Stochastic depth of up to .5 in timm's own."""
    encoder = build_encoder("timm:nest_tiny", size=32).train()
    gray = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(gray), encoder(gray))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("timm:convnext_tinny", 64, "no such network; did you mean timm:convnext_tiny or "),
        ("timm:", 64, "timm:: timm .* has no such network"),
        ("timm:resnet18.a9_in1k", 64, r"no weights a9_in1k of resnet18; give timm:resnet18, or with one of \.a1_in1k"),
        ("vit_smal", 64, "did you mean vit_small.*timm:NAME"),
        ("vit_small", 70, "takes multiples of 16 px; use 64 or 80"),
        ("timm:test_vit", 70, r"views.size 70: timm:test_vit does not take it \(.*patch size \(16\).*\); use 64 or 96"),
        ("timm:efficientformer_l1", 64, r"views.size 64: .* does not take it \(.*\); use 224, or another network"),
        ("timm:csatv2", 64, "takes no gray input"),
    ],
)
def test_refuses_at_the_door(name: str, size: int, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_encoder(name, size)
    assert "\n" not in str(caught.value)


def test_views_of_other_sizes_are_other_networks() -> None:
    sizes = [build_encoder("timm:test_vit", size=size).get_parameter("pos_embed").shape[1] for size in (32, 64)]
    assert sizes == [2 * 2 + 1, 4 * 4 + 1] or sizes == [2 * 2, 4 * 4]


def test_torchvisions_twin_is_found_by_trying(tmp_path: Path) -> None:
    def exported(name: str) -> str:
        save_encoder(tmp_path / "encoder.safetensors", build_encoder(name, size=64), name=name, views=ViewSpec(size=64))
        return export_encoder(load_encoder(tmp_path), tmp_path / "twin.pth", format="torchvision").usage

    usage = exported("timm:resnet18.tv_in1k")
    names: dict[str, Any] = {"torch": torch, "torchvision": __import__("torchvision")}
    exec(usage, names)
    gray = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = load_encoder(tmp_path).encoder(gray)
        torch.testing.assert_close(names["model"].eval()(gray.expand(-1, 3, -1, -1)), expected, rtol=1e-3, atol=1e-4)
    for name in ("timm:test_vit", "timm:efficientnet_b0"):
        with pytest.raises(InputError, match=f"torchvision has no {name}; use timm or onnx"):
            exported(name)


@pytest.mark.parametrize(
    ("name", "num_places"),
    [("timm:tf_efficientnet_lite0", 2), ("timm:test_vit", 4), ("timm:swin_tiny_patch4_window7_224", 2)],
)
def test_last_map_is_what_features_are_pooled_of(name: str, num_places: int) -> None:
    encoder = build_encoder(name, size=64).eval()
    places = last_map(encoder, torch.randn(2, 1, 64, 64))
    assert places is not None
    assert places.shape == (2, encoder.num_features, num_places, num_places)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:tf_efficientnet_lite0", "timm:test_vit", "timm:convnext_atto"])
def test_compiles_and_becomes_onnx(tmp_path: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    encoder = build_encoder(name, size=64).eval()
    gray = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        expected = encoder(gray)
        torch.testing.assert_close(torch.compile(encoder)(gray), expected, rtol=1e-3, atol=1e-4)
    save_encoder(tmp_path / "encoder.safetensors", encoder, name=name, views=ViewSpec(size=64))
    export_encoder(load_encoder(tmp_path), tmp_path / "encoder.onnx", format="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"views": gray.numpy()})
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-3, atol=1e-4)
