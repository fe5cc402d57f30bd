"""What other software calls the tensors of a network: from the names of torchvision or timm to those in a file.

Each adapter takes all of an encoder's names and gives the file's, in the same order. Which of them a file is in, its
own names tell: the one under which most of the encoder's tensors are there (:mod:`train.encoders.layouts`).
"""

import re
from collections.abc import Callable, Iterable

Adapter = Callable[[Iterable[str]], dict[str, tuple[str, ...]]]
"""Where a library keeps as one what another keeps apart (query, key and value), the file has several, to be joined."""


def _each(rename: Callable[[str], str]) -> Adapter:
    return lambda names: {name: (rename(name),) for name in names}


def _by(*table: tuple[str, str]) -> Adapter:
    """By the first pattern at the beginning of a name; ``{a,b}`` in its replacement stands for several names."""

    def rename(name: str) -> tuple[str, ...]:
        for pattern, replacement in table:
            renamed, found = re.subn(rf"^{pattern}", replacement, name)
            if found:
                before, _, rest = renamed.partition("{")
                several, _, after = rest.partition("}")
                return tuple(f"{before}{each}{after}" for each in several.split(","))
        return (name,)

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


def _efficientnet(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    names = list(names)
    found = {name: _BLOCK.fullmatch(name) for name in names}
    numbers = {place: number for number, place in enumerate(dict.fromkeys(m[1] for m in found.values() if m))}
    expanding = {match[1] for match in found.values() if match and match[2] == "conv_pwl"}
    renamed: dict[str, tuple[str, ...]] = {}
    for name, match in found.items():
        if match:
            words = _BLOCKS if match[1] in expanding else _FIRST_BLOCKS
            renamed[name] = (f"_blocks.{numbers[match[1]]}.{words.get(match[2], match[2])}.{match[3]}",)
        else:
            layer, _, tensor = name.rpartition(".")
            renamed[name] = (f"{_EFFICIENTNET.get(layer, layer)}.{tensor}",)
    return renamed


# Hugging Face's transformers, as save_pretrained writes them.
_TOKENS = (
    (r"(cls_token)$", r"embeddings.\1"),
    (r"pos_embed$", "embeddings.position_embeddings"),
    (r"dist_token$", "embeddings.distillation_token"),
    (r"reg_token$", "embeddings.register_tokens"),
    (r"patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"norm\.", "layernorm."),
)
_ATTENTION = (
    (r"blocks\.(\d+)\.attn\.qkv\.", r"encoder.layer.\1.attention.attention.{query,key,value}."),
    (r"blocks\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.output.dense."),
)
_VIT = (
    (r"blocks\.(\d+)\.norm1\.", r"encoder.layer.\1.layernorm_before."),
    (r"blocks\.(\d+)\.norm2\.", r"encoder.layer.\1.layernorm_after."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", r"encoder.layer.\1.intermediate.dense."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", r"encoder.layer.\1.output.dense."),
)
_DINOV2 = (
    (r"blocks\.(\d+)\.ls(\d)\.gamma", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.", r"encoder.layer.\1."),
)
_DINOV3_VIT = (
    (r"patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"reg_token$", "embeddings.register_tokens"),
    (r"cls_token$", "embeddings.cls_token"),
    (r"blocks\.(\d+)\.gamma_(\d)", r"layer.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.attn\.([qv])_bias$", r"layer.\1.attention.\2_proj.bias"),
    (r"blocks\.(\d+)\.attn\.qkv\.", r"layer.\1.attention.{q_proj,k_proj,v_proj}."),
    (r"blocks\.(\d+)\.attn\.proj\.", r"layer.\1.attention.o_proj."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", r"layer.\1.mlp.up_proj."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", r"layer.\1.mlp.down_proj."),
    (r"blocks\.", "layer."),
)
_SWIN = (
    (r"patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"patch_embed\.norm\.", "embeddings.norm."),
    (r"norm\.", "layernorm."),
    (r"layers\.1\.downsample\.", "encoder.layers.0.downsample."),  # at the end of a stage, in timm of the next one
    (r"layers\.2\.downsample\.", "encoder.layers.1.downsample."),
    (r"layers\.3\.downsample\.", "encoder.layers.2.downsample."),
    (r"(layers\.\d+\.blocks\.\d+)\.attn\.qkv\.", r"encoder.\1.attention.self.{query,key,value}."),
    (r"(layers\.\d+\.blocks\.\d+)\.attn\.proj\.", r"encoder.\1.attention.output.dense."),
    (r"(layers\.\d+\.blocks\.\d+)\.attn\.", r"encoder.\1.attention.self."),
    (r"(layers\.\d+\.blocks\.\d+)\.norm1\.", r"encoder.\1.layernorm_before."),
    (r"(layers\.\d+\.blocks\.\d+)\.norm2\.", r"encoder.\1.layernorm_after."),
    (r"(layers\.\d+\.blocks\.\d+)\.mlp\.fc1\.", r"encoder.\1.intermediate.dense."),
    (r"(layers\.\d+\.blocks\.\d+)\.mlp\.fc2\.", r"encoder.\1.output.dense."),
)
_CONVNEXT = (
    (r"stem\.0\.", "embeddings.patch_embeddings."),
    (r"stem\.1\.", "embeddings.layernorm."),
    (r"head\.norm\.", "layernorm."),
    (r"(stages\.\d+)\.downsample\.", r"encoder.\1.downsampling_layer."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.conv_dw\.", r"encoder.\1.layers.\2.dwconv."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.norm\.", r"encoder.\1.layers.\2.layernorm."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.mlp\.fc(\d)\.", r"encoder.\1.layers.\2.pwconv\3."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.mlp\.grn\.", r"encoder.\1.layers.\2.grn."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.gamma$", r"encoder.\1.layers.\2.layer_scale_parameter"),
)
_DINOV3_CONVNEXT = (
    (r"stem\.", "stages.0.downsample_layers."),
    (r"head\.norm\.", "layer_norm."),
    (r"(stages\.\d+)\.downsample\.", r"\1.downsample_layers."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.conv_dw\.", r"\1.layers.\2.depthwise_conv."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.norm\.", r"\1.layers.\2.layer_norm."),
    (r"(stages\.\d+)\.blocks\.(\d+)\.mlp\.fc(\d)\.", r"\1.layers.\2.pointwise_conv\3."),
    (r"(stages\.\d+)\.blocks\.", r"\1.layers."),
)


def _resnet(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Stages and layers counted from 0, each convolution with its norm."""
    words = {"conv": "convolution", "bn": "normalization"}

    def rename(name: str) -> str:
        if match := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
            return f"embedder.embedder.{words[match[1]]}.{match[2]}"
        if match := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", name):
            layer = f"encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.layer.{int(match[4]) - 1}"
            return f"{layer}.{words[match[3]]}.{match[5]}"
        if match := re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)", name):
            word = "convolution" if match[3] == "0" else "normalization"
            return f"encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.shortcut.{word}.{match[4]}"
        return name

    return {name: (rename(name),) for name in names}


ADAPTERS: dict[str, Adapter] = {
    "": _each(lambda name: name),
    " (norm.1 for norm1)": _each(_first_densenet_files),
    " (layers by number)": _each(_in_a_row),
    " (MONAI's names)": _each(lambda name: re.sub(r"(denselayer\d+)\.", r"\1.layers.", name)),
    " (features alone)": _each(lambda name: name.removeprefix("features.")),
    " (EfficientNet-PyTorch's names)": _efficientnet,
    " (Hugging Face's ViT)": _by(*_TOKENS, *_ATTENTION, *_VIT),
    " (Hugging Face's DINOv2)": _by(*_TOKENS, *_ATTENTION, *_DINOV2),
    " (Hugging Face's DINOv3 ViT)": _by(*_DINOV3_VIT),
    " (Hugging Face's Swin)": _by(*_SWIN),
    " (Hugging Face's ConvNeXt)": _by(*_CONVNEXT),
    " (Hugging Face's DINOv3 ConvNeXt)": _by(*_DINOV3_CONVNEXT),
    " (Hugging Face's ResNet)": _resnet,
    " (DINOv2 with registers)": _each(lambda name: name.replace("reg_token", "register_tokens")),
}
"""By what a report says behind ``state dict``."""
