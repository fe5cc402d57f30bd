"""What other software calls the tensors of a network: from the names of torchvision or timm to those in a file.

Each adapter takes all of an encoder's names and gives the file's, in the same order. Which of them a file is in, its
own names tell: the one under which most of the encoder's tensors are there (:mod:`train.encoders.layouts`).
"""

import re
from collections.abc import Callable, Iterable

Adapter = Callable[[Iterable[str]], dict[str, str]]


def _each(rename: Callable[[str], str]) -> Adapter:
    return lambda names: {name: rename(name) for name in names}


def _first_densenet_files(name: str) -> str:
    """Torchvision's first DenseNet files say norm.1 where the module says norm1."""
    return re.sub(r"\.(norm|relu|conv)([12])\.", r".\1.\2.", name)


def _in_a_row(name: str) -> str:
    """``nn.Sequential(*list(network.children())[:-1])``, as lightly's examples cut a head off."""
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7, "features": 0}
    top, _, rest = name.partition(".")
    return f"{places[top]}.{rest}" if top in places else name


# Of EfficientNet-PyTorch (lukemelas), and what was made from it: TensorFlow's names, blocks counted through all stages.
_EFFICIENTNET = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
_SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
_FIRST_BLOCKS = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"} | _SQUEEZE
"""Blocks without expansion."""
_BLOCKS = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"} | _SQUEEZE
_BLOCKS |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
_BLOCK = re.compile(r"blocks\.(\d+\.\d+)\.(.+)\.(\w+)")


def _efficientnet(names: Iterable[str]) -> dict[str, str]:
    names = list(names)
    found = {name: _BLOCK.fullmatch(name) for name in names}
    numbers = {place: number for number, place in enumerate(dict.fromkeys(m[1] for m in found.values() if m))}
    expanding = {match[1] for match in found.values() if match and match[2] == "conv_pwl"}
    renamed = {}
    for name, match in found.items():
        if match:
            words = _BLOCKS if match[1] in expanding else _FIRST_BLOCKS
            renamed[name] = f"_blocks.{numbers[match[1]]}.{words.get(match[2], match[2])}.{match[3]}"
        else:
            layer, _, tensor = name.rpartition(".")
            renamed[name] = f"{_EFFICIENTNET.get(layer, layer)}.{tensor}"
    return renamed


ADAPTERS: dict[str, Adapter] = {
    "": _each(lambda name: name),
    " (norm.1 for norm1)": _each(_first_densenet_files),
    " (layers by number)": _each(_in_a_row),
    " (features alone)": _each(lambda name: name.removeprefix("features.")),
    " (EfficientNet-PyTorch's names)": _efficientnet,
}
"""By what a report says behind ``state dict``."""
