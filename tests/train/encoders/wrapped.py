"""Checkpoints of random networks as training code wraps them: names of tensors, and what lies around."""

import functools
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.train.encoders.published import (
    HEADS,
    fine_tuned,
    linear_probe,
    moco,
    moco_v3,
    prefixed,
    source,
    thin,
    thinned,
    torchvision_file,
)

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
    model.add_module("backbone", thinned(name))
    model.add_module("fc", nn.Linear(8, 4))
    return model


def simclr_of_fc(name: str) -> Any:
    return {"arch": name, "state_dict": prefixed("backbone.", encoder(name) | head(f"{HEADS[name]}."))}


def timm_training(name: str) -> Any:
    """timm's train.py, with --model-ema."""
    state = torchvision_file(name)
    return {
        "epoch": 1,
        "arch": name,
        "state_dict": state,
        "optimizer": {},
        "version": 2,
        "state_dict_ema": zeros(state),
    }


def fastai(name: str) -> Any:
    """``Learner.save``: the body is a row of layers, and the head is behind it."""
    row = nn.Sequential(*list(source(name).children())[:-1]).state_dict()
    return {"model": prefixed("0.", row) | head("1."), "opt": {"hypers": [{"lr": 0.1}], "state": []}}


def lucidrains_byol(name: str) -> Any:
    """byol-pytorch inside a Lightning module: one network under two names, and its average."""
    state = encoder(name)
    online = prefixed("learner.net.", state) | prefixed("learner.online_encoder.net.", state)
    return {"state_dict": online | prefixed("learner.target_encoder.net.", zeros(state)) | head("learner.projector.")}


def byol_of_sthalles(name: str) -> Any:
    row = nn.Sequential(*list(source(name).children())[:-1]).state_dict()
    parts = {"online_network_state_dict": prefixed("encoder.", row) | head("projetion.net.")}
    return parts | {"target_network_state_dict": prefixed("encoder.", zeros(row)), "optimizer_state_dict": {}}


def robustness(name: str) -> Any:
    """MadryLab's: the attacked model again under the attacker, and normalisation beside it."""
    state = encoder(name)
    model = prefixed("module.model.", state) | prefixed("module.attacker.model.", state)
    return {"model": model | {"module.normalizer.new_mean": torch.zeros(3, 1, 1)}, "epoch": 1}


def recomputed(name: str) -> Any:
    """FSDP with checkpointed activations: a word within the names of each block."""
    renamed = {
        re.sub(r"^(layer\d|features\.denseblock\d)\.", r"\1._checkpoint_wrapped_module.", key): value
        for key, value in encoder(name).items()
    }
    return {"model": prefixed("_fsdp_wrapped_module.", renamed)}


def averaged(name: str) -> Any:
    """``torch.optim.swa_utils.AveragedModel`` beside the model."""
    average = prefixed("module.", zeros(encoder(name))) | {"n_averaged": torch.tensor(3)}
    return {"state_dict": encoder(name), "swa_model": average}


def detection(name: str) -> Any:
    """torchvision's detectors: frozen batch norm, which counts nothing."""
    state = {key: value for key, value in encoder(name).items() if not key.endswith("num_batches_tracked")}
    return prefixed("backbone.body.", state) | head("backbone.fpn.inner_blocks.0.") | head("rpn.head.")


def monai(name: str) -> Any:
    return {re.sub(r"(denselayer\d+)\.", r"\1.layers.", key): value for key, value in encoder(name).items()}


def gray(name: str) -> Any:
    """torchxrayvision's ResNet: one channel, in a module that was pickled whole."""
    state = thin(encoder(name))
    stem = next(iter(state))
    return prefixed("model.", state | {stem: state[stem].sum(dim=1, keepdim=True)} | head("fc."))


def in_type(dtype: torch.dtype) -> Make:
    return lambda name: {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in encoder(name).items()
    }


def nested(name: str) -> Any:
    """Composer's: state dicts in dictionaries, and the model one of them."""
    state = {"model": prefixed("module.", encoder(name)) | head("head."), "optimizers": {"Adam": {"state": {}}}}
    return {"state": state, "rng": [{"python": (3, [1, 2])}]}


def holds_itself(name: str) -> Any:
    payload: dict[str, Any] = {"state_dict": thin(encoder(name))}
    payload["trainer"] = {"checkpoint": payload}
    return payload


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
    "MoCo v3 of a ResNet": moco_v3,
    "MoCo-CXR, fine-tuned": fine_tuned,
    "linear probe": linear_probe,
    "timm": encoder,
    "timm, training with averages": timm_training,
    "SwAV, release": under("module.", beside="module.prototypes.", container=""),
    "Barlow Twins, release": under("", container=""),
    "DINO of batch norm": lambda name: dino(name) | {"teacher": prefixed("module.", dino(name)["teacher"])},
    "pl_bolts BYOL": under(
        "online_network.encoder.", copy="target_network.encoder.", beside="online_network.projector."
    ),
    "byol-pytorch": lucidrains_byol,
    "BYOL, two state dicts": byol_of_sthalles,
    "OpenSelfSup": under("encoder_q.0.", copy="encoder_k.0.", beside="encoder_q.1.mlp.", meta={"epoch": 1}),
    "mmpretrain MoCo v3": under("backbone.", copy="momentum_encoder.module.0.", beside="neck."),
    "mmengine, averages": lambda name: {
        "state_dict": prefixed("backbone.", encoder(name)),
        "ema_state_dict": prefixed("module.backbone.", zeros(encoder(name))),
    },
    "robustness": robustness,
    "fastai": fastai,
    "RadImageNet (row under backbone.)": lambda name: in_a_row("backbone.")(name)["state_dict"],
    "GLoRIA": under("gloria.img_encoder.model.", beside="gloria.text_encoder.", hyper_parameters=AttributeDict(a=1)),
    "MGCA": under("img_encoder_q.model.", beside="text_encoder_q.model."),
    "BioViL": under("encoder.encoder.", beside="projector.model.", container=""),
    "MedCLIP": under("vision_model.model.", beside="text_model.", container=""),
    "OpenCLIP (timm tower)": under("module.visual.trunk.", beside="module.transformer.", name="a"),
    "ALBEF (average under _m)": under("visual_encoder.", copy="visual_encoder_m.", beside="text_encoder."),
    "MONAI": monai,
    "torchxrayvision, one channel": gray,
    "torchvision detector": detection,
    "segmentation_models_pytorch": under("encoder.", beside="decoder.blocks."),
    "Composer": nested,
    "DeepSpeed (mp_rank_00_model_states.pt)": under("", container="module", dp_world_size=2, ds_config={"a": 1}),
    "Lightning with DeepSpeed": under("_forward_module.model.", beside="_forward_module.criterion."),
    "FSDP, whole, recomputed": recomputed,
    "compiled inside Lightning": under("model._orig_mod.", beside="criterion."),
    "AveragedModel": averaged,
    "ema_pytorch": under("online_model.", copy="ema_model.", container=""),
    "nn.Sequential": under("0.", beside="1.", container=""),
    "a list": lambda name: [encoder(name), {"lr": 0.1}],
    "what holds itself": holds_itself,
    "half precision": in_type(torch.float16),
    "bfloat16": in_type(torch.bfloat16),
    "double precision": in_type(torch.float64),
}
