"""What a file or folder is that holds no weights as PyTorch or safetensors write them, and what to do with it."""

import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

from shards.format.manifest import MANIFEST

_LONGEST = 1000
"""Bytes that are looked at."""
_BEGINNINGS: Sequence[tuple[bytes, str]] = (
    (rb"\x89HDF\r\n", "is an HDF5 file, as Keras writes: its weights are not read here; give weights of PyTorch"),
    (rb"\x93NUMPY", "is a file of one NumPy array; give weights of PyTorch"),
    (rb"version https://git-lfs", "is a pointer of Git LFS and no weights; fetch the file itself: git lfs pull"),
    (rb"\s*<(!doctype|html|\?xml)", "is a web page and no weights; download the file again"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf", "is a compressed file; unpack it, and give the weights in it"),
    (rb".{257}ustar", "is a tar archive; unpack it, and give the weights in it"),
    (rb".{8}\{\s*\"", "is a safetensors file; give it a name that ends in .safetensors"),
    (rb"\x08[\x01-\x0f](\x12|:)", "is an ONNX graph; give the weights that it was made from"),
    (
        rb"\x80.*numpy\.?(_core|core)?\.multiarray",
        "is a pickle of NumPy arrays, as Detectron2 writes: not read here; give the weights that it was made from",
    ),
)
_MEMBERS: Sequence[tuple[str, str]] = (
    (r".*/data\.pkl", ""),
    (
        r"(.*/)?archive_format",
        "is a program of torch.export; save its weights alone: torch.save(torch.export.load(FILE).state_dict, NEW)",
    ),
    (r".*\.npy", "is a file of NumPy arrays, as JAX writes: not read here; give weights of PyTorch"),
    (r"", "is a zip archive, and none that PyTorch writes; unpack it, and give the weights in it"),
)
"""Of zip archives, which PyTorch's own files are too."""


def what_file(path: Path) -> str:
    """What a file is and what to do, in words that follow its name; empty where nothing tells."""
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, struct.error):
            return ""  # a damaged one
        return next(words for member, words in _MEMBERS if any(re.match(member, name) for name in [*names, ""]))
    with path.open("rb") as file:
        content = file.read(_LONGEST)
    flags = re.DOTALL | re.IGNORECASE
    return next((words for beginning, words in _BEGINNINGS if re.match(beginning, content, flags=flags)), "")


def what_folder(folder: Path) -> str:
    """The same of a folder, which is none of train/pretrain.py's."""
    if (folder / MANIFEST).is_file():
        return "is a packed dataset; give it to --data, and here a run folder or a file of weights"
    if (folder / ".metadata").is_file():
        return (
            "is a checkpoint in shards, of torch.distributed.checkpoint; join them: python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {folder} FILE.pth"
        )
    states = sorted(folder.glob("**/*model_states.pt"))
    if states:
        return (
            f"is a checkpoint of DeepSpeed; give the file of its weights, {states[-1]}, or what zero_to_fp32.py makes"
        )
    if (folder / "saved_model.pb").is_file():
        return "is a model of TensorFlow: not read here; give weights of PyTorch"
    kinds = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
    files = sorted(path for path in folder.iterdir() if path.suffix in kinds and path.is_file())
    what = "is no run folder, and has no config.json of a Hugging Face model"
    return f"{what}; give one of the files in it, such as {files[0]}" if files else ""
