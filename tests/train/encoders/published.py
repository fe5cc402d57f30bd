"""Checkpoints of random networks in the key names of each source; see train/encoders/weights.py."""

import copy
import functools
from argparse import Namespace
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn

from train.encoders.networks import sincos_position_embedding

State = dict[str, Tensor]
HEADS = {"resnet18": "fc", "densenet121": "classifier", "vit_small": "head", "vit_small_moco_v3": "head"}


@functools.cache
def source(name: str) -> nn.Module:
    """A network for three channels, without head, whose running statistics are not those of a start."""
    torch.manual_seed(8)
    model: Any
    if name.startswith("vit_small"):
        heads = 12 if name == "vit_small_moco_v3" else 6
        model = timm.create_model("vit_small_patch16_224", num_classes=0, num_heads=heads, dynamic_img_size=True)
        if heads == 12:
            model.pos_embed.data = sincos_position_embedding(384, 14)
    else:
        model = torchvision.models.get_model(name, weights=None)
        model.set_submodule(HEADS[name], nn.Identity())
        with torch.no_grad():
            model(torch.randn(4, 3, 64, 64))
    return model.eval()


def thin(value: Any) -> Any:
    """Each tensor of one number only, in its shape: files of kilobytes, which are read the same."""
    if isinstance(value, dict) and any(
        part.get("checkpoint") is value for part in value.values() if type(part) is dict
    ):
        return value  # holds itself
    if isinstance(value, Tensor):
        return value.flatten()[:1].clone().expand(value.shape) if value.numel() > 1 else value
    if isinstance(value, dict):
        thinned = copy.copy(value)
        for key, part in value.items():
            thinned[key] = thin(part)
        return thinned
    return type(value)(map(thin, value)) if type(value) in (list, tuple) else value


def thinned(name: str) -> nn.Module:
    network = copy.deepcopy(source(name))
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = thin(tensor.data)
    return network


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def mlp(name: str, *layers: nn.Module) -> State:
    """A projector of small widths, under the head's name."""
    return prefixed(f"{HEADS[name]}.", nn.Sequential(*layers).state_dict())


def torchvision_file(name: str) -> Any:
    return source(name).state_dict() | prefixed(f"{HEADS[name]}.", nn.Linear(8, 4).state_dict())


def first_densenet_file(name: str) -> Any:
    """As released before torchvision 0.2.1 renamed the layers, and without counters."""
    renamed = {}
    for key, value in torchvision_file(name).items():
        if not key.endswith("num_batches_tracked"):
            for layer in ("norm", "conv"):
                for number in "12":
                    key = key.replace(f".{layer}{number}.", f".{layer}.{number}.") if "denselayer" in key else key
            renamed[key] = value
    assert any(".norm.1." in key for key in renamed)
    return renamed


def moco(name: str, parallel: str = "module.") -> Any:
    """facebookresearch/moco and, from it, MoCo-CXR: main_moco.py, save_checkpoint."""
    head = mlp(name, nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    query = source(name).state_dict() | head
    key = {name: torch.zeros_like(value) for name, value in query.items()}
    whole = prefixed("encoder_q.", query) | prefixed("encoder_k.", key)
    whole |= {"queue": torch.randn(4, 16), "queue_ptr": torch.zeros(1, dtype=torch.long)}
    adam = torch.optim.Adam(nn.Linear(2, 2).parameters()).state_dict()
    return {"epoch": 20, "arch": name, "state_dict": prefixed(parallel, whole), "optimizer": adam}


def moco_v3(name: str) -> Any:
    """facebookresearch/moco-v3: main_moco.py, with projectors in the head's place and a predictor."""
    projector = mlp(name, nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4, bias=False))
    base = source(name).state_dict() | projector
    momentum = {key: torch.zeros_like(value) for key, value in base.items()}
    predictor = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).state_dict()
    whole = prefixed("base_encoder.", base) | prefixed("momentum_encoder.", momentum)
    return {
        "arch": name,
        "state_dict": prefixed("module.", whole | prefixed("predictor.", predictor)),
        "args": Namespace(lr=0.1),
    }


def fine_tuned(name: str) -> Any:
    """MoCo-CXR's supervised stage: chexpert-model/saver/model_saver.py, models/models.py."""
    head = {"resnet18": "last_linear", "densenet121": "classifier"}[name]
    model = source(name).state_dict() | prefixed(f"{head}.", nn.Linear(8, 4).state_dict())
    whole = prefixed("model.", model)
    if name == "resnet18":
        whole |= prefixed("fc.", nn.Linear(8, 14).state_dict())
    return {
        "ckpt_info": {"epoch": 1, "chexpert-loss": np.float64(0.5)},
        "model_name": "ResNet18",
        "task_sequence": ["Edema"],
        "model_state": prefixed("module.", whole),
        "lr_scheduler": None,
    }


def linear_probe(name: str) -> Any:
    """main_lincls.py of all three."""
    return {"epoch": 1, "best_acc1": torch.tensor(0.5), "state_dict": prefixed("module.", torchvision_file(name))}
