"""Classifiers of torchxrayvision (Cohen et al. 2022, arXiv 2111.00595), trained on labels of several releases.

Its DenseNet121 and ResNet50 are torchvision's with one channel, so they become encoders of ours. Levels go from -1024
to 1024. The package loads its files by unpickling them; here their tensors alone are read.
"""

import importlib
import os
import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from eval.foreign.contract import ForeignModel
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.base.words import reason_of
from train.encoders.build import build_encoder
from train.encoders.torch_file import read_torch_file

LEVEL = 1024
_COUNTER = "num_batches_tracked"  # which old files lack


def open_model(name: str) -> ForeignModel:
    """Opens ``xrv:NAME``.

    Raises:
        InputError: see :func:`eval.foreign.contract.open_foreign`.
    """
    package = _package()
    known = package.models.model_urls
    if name not in known:
        raise InputError(f"there is no such model; give one of {', '.join(known)}")
    about = known[name]
    architecture = "resnet50" if name.startswith("resnet") else "densenet121"
    encoder: Any = build_encoder(architecture)
    path = _file(about["weights_url"], Path(os.path.expanduser(package.utils.get_cache_dir())))
    tensors, wanted = read_torch_file(path).tensors, encoder.state_dict()
    absent = [key for key in wanted if key not in tensors and not key.endswith(_COUNTER)]
    strange = [key for key in wanted if key in tensors and tensors[key].shape != wanted[key].shape]
    if absent or strange:
        raise InputError(f"{path} is of no {architecture} ({(absent + strange)[0]}); delete it and repeat the command")
    encoder.load_state_dict({key: tensors.get(key, value) for key, value in wanted.items()})
    size = int(about["input_resolution"])
    return ForeignModel(
        encoder=encoder.eval(),
        views=ViewSpec(size=size, mean=0.5, std=0.5 / LEVEL),
        name=architecture,
        num_features=encoder.num_features,
        about=(
            f"gray in 1 channel of {size} px, levels from -{LEVEL} to {LEVEL}; {encoder.num_features} features: the "
            f"mean over places before the classifier of torchxrayvision's {architecture}"
        ),
    )


def _package() -> Any:
    try:
        with warnings.catch_warnings():  # it turns off all warnings of the program
            models = importlib.import_module("torchxrayvision")
    except ImportError as error:
        what = "is not installed" if error.name == "torchxrayvision" else f"cannot be imported ({error})"
        raise InputError(f"torchxrayvision {what}; pip install 'moco-cxr[xrv]'") from None
    return models


def _file(url: str, folder: Path) -> Path:
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"the download failed ({reason_of(error)}); fetch {url} by hand and put it into {folder}"
            ) from None
    return path
