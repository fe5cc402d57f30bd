"""Checkpoints of random networks as training code wraps them: names of tensors, and what lies around."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.train.encoders.published import HEADS, moco, prefixed, source, torchvision_file

State = dict[str, Tensor]
Make = Callable[[str], Any]


class AttributeDict(dict):
    """Settings as Lightning pickles them: a class that the reader need not know."""


class Settings:
    def __init__(self) -> None:
        self.lr, self.names = 0.1, AttributeDict(backbone="resnet18")


def encoder(name: str) -> State:
    return source(name).state_dict()


def zeros(state: State) -> State:
    return {key: torch.zeros_like(value) for key, value in state.items()}


def head(prefix: str) -> State:
    return prefixed(prefix, nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).state_dict())


def under(prefix: str, *, beside: str = "", copy: str = "", container: str = "state_dict", **more: Any) -> Make:
    """The encoder under a prefix, and a copy of zeros and a head under others, in a dictionary of training."""

    def make(name: str) -> Any:
        state = prefixed(prefix, encoder(name))
        state |= prefixed(copy, zeros(encoder(name))) if copy else {}
        state |= head(beside) if beside else {}
        return {"epoch": 3, container: state, **more} if container else state

    return make


def in_a_row(prefix: str, *, copy: str = "") -> Make:
    """lightly's examples: nn.Sequential(*list(network.children())[:-1])."""

    def make(name: str) -> Any:
        row = nn.Sequential(*list(source(name).children())[:-1]).state_dict()
        state = prefixed(prefix, row) | (prefixed(copy, zeros(row)) if copy else {})
        return {"state_dict": state | head("projection_head."), "hyper_parameters": AttributeDict(lr=0.1)}

    return make


def parallel(make: Make, prefix: str = "module.") -> Make:
    """Of each name, inside its state dict."""

    def wrapped(name: str) -> Any:
        payload = make(name)
        return {key: prefixed(prefix, value) if key == "state_dict" else value for key, value in payload.items()}

    return wrapped


def compiled(name: str) -> Any:
    """torch.compile of the backbone inside a parallel model."""
    return {"state_dict": prefixed("module.backbone._orig_mod.", encoder(name)) | head("module.projector.")}


def dino(name: str) -> Any:
    student = prefixed("module.backbone.", zeros(encoder(name))) | head("module.head.mlp.")
    teacher = prefixed("backbone.", encoder(name)) | head("head.mlp.")
    return {"student": student, "teacher": teacher, "args": Settings(), "dino_loss": {"center": torch.zeros(1, 4)}}


def vissl(name: str) -> Any:
    trunk = prefixed("_feature_blocks.", encoder(name))
    heads = {"heads": head("0.clf."), "trunk": trunk}
    return {"phase": 3, "classy_state_dict": {"base_model": {"model": heads, "meters": {}}, "optim": {}}}


def xrv(name: str) -> Any:
    return torchvision_file(name) | {"op_threshs": torch.full((18,), torch.nan)}


def whole_module(name: str) -> Any:
    """``torch.save(model)``."""
    model = nn.Sequential()
    model.add_module("backbone", source(name))
    model.add_module("fc", nn.Linear(8, 4))
    return model


def simclr_of_fc(name: str) -> Any:
    return {"arch": name, "state_dict": prefixed("backbone.", encoder(name) | head(f"{HEADS[name]}."))}


LAYOUTS: dict[str, Make] = {
    "torchvision": torchvision_file,
    "MoCo": moco,
    "MoCo, one process": functools.partial(moco, parallel=""),
    "DenseCL": parallel(under("encoder_q.0.", copy="encoder_k.0.", beside="encoder_q.1.mlp.")),
    "SimCLR (projector in place of fc)": simclr_of_fc,
    "SimSiam": parallel(under("encoder.", beside="predictor.")),
    "BYOL (online, target)": under("online_network.", copy="target_network.", beside="predictor."),
    "BYOL (online_encoder.net)": under("online_encoder.net.", copy="target_encoder.net.", beside="online_predictor."),
    "Barlow Twins": parallel(under("backbone.", beside="projector.")),
    "VICReg": under("module.backbone.", beside="module.projector.", container="model"),
    "SwAV": parallel(under("", beside="projection_head.")),
    "DINO": dino,
    "VISSL": vissl,
    "solo-learn": under("backbone.", copy="momentum_backbone.", beside="projector.", hyper_parameters=Settings()),
    "solo-learn, encoder": under("encoder.", copy="momentum_encoder.", beside="projector.", callbacks=AttributeDict()),
    "lightly, network": under("backbone.", copy="backbone_momentum.", beside="projection_head."),
    "lightly, row of layers": in_a_row("backbone."),
    "lightly, row and momentum": in_a_row("backbone.", copy="backbone_momentum."),
    "lightly DINO": under("teacher_backbone.", copy="student_backbone.", beside="teacher_head."),
    "mmpretrain": under("backbone.", beside="head.", meta={"dataset": Settings()}),
    "mmselfsup, momentum": under("backbone.", copy="target_net.module.0.", beside="neck."),
    "pl_bolts": under("encoder_q.", copy="encoder_k.", beside="projector."),
    "Lightning module": under("model.", beside="criterion.", hyper_parameters=AttributeDict(net=Settings())),
    "Lightning module, net": under("net.", beside="metric.", **{"pytorch-lightning_version": "2.1"}),
    "exponential average": under("", container="model_ema"),
    "network and average": lambda name: {"model": encoder(name), "model_ema": zeros(encoder(name))},
    "model_state_dict": under("", beside="head.", container="model_state_dict"),
    "network": under("network.", container="net"),
    "trunk": under("trunk.", beside="logit.", container=""),
    "feature_extractor": under("feature_extractor.", beside="classifier.", container=""),
    "image tower": under("image_encoder.", beside="text_encoder.", container=""),
    "visual": under("visual.", beside="transformer.", container="state_dict"),
    "parallel twice": parallel(under("backbone.", beside="fc."), "module.module."),
    "compiled": compiled,
    "compiled whole": under("_orig_mod.", container=""),
    "CheXNet": parallel(under("densenet121.", beside="densenet121.classifier.0.")),
    "torchxrayvision": xrv,
    "pickled module": whole_module,
}
