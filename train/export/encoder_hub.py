"""An encoder as a folder for the hub, with its card, uploaded where that is asked for."""

from pathlib import Path

from shards.base.errors import InputError
from train.encoders.saved import LoadedEncoder
from train.export.card import model_card
from train.export.hub import check_name, push_folder
from train.export.hub_folder import CARD, CONFIG, write_encoder_folder

_USAGE = {
    "timm": 'import timm\n\nmodel = timm.create_model("hf-hub:NAME", pretrained=True).eval()\n'
    "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))  # of gray images, mode L",
    "moco-cxr": 'import moco_cxr\n\nencoder = moco_cxr.from_hub("NAME").encoder  # or --encoder.weights hub:NAME',
}


def export_to_hub(
    loaded: LoadedEncoder, run: Path, folder: Path, *, push: str = "", public: bool = False, license: str = "other"
) -> str:
    """Writes the folder, uploads it to ``push`` if that names a repository, and returns what is to be told.

    Raises:
        InputError: the folder holds something else, timm cannot load the encoder, or it could not be uploaded.
    """
    if push:
        check_name(push)
    check_folder(folder)
    method = loaded.metadata.get("config", {}).get("method", {}).get("name", "")
    name = push or folder.name
    card = model_card(
        title=f"{loaded.name}, chest X-rays" + (f", {method}" if method else ""),
        intro=f"A chest X-ray encoder pretrained without labels: from a gray image to {loaded.encoder.num_features} "
        "pooled features.",
        views=loaded.views,
        task="image-feature-extraction",
        usage={software: lines.replace("NAME", name) for software, lines in _USAGE.items()},
        tags=["self-supervised-learning", *([method] if method else [])],
        license=license,
        run=run if run.is_dir() else run.parent,
    )
    write_encoder_folder(loaded, folder, card=card)
    if push:
        return (
            f"pushed: {push_folder(folder, push, public=public)}; load it with\n{_USAGE['timm'].replace('NAME', push)}"
        )
    source = f"local-dir:{folder.resolve()}"
    return f'written: {folder}; load it with\nmodel = timm.create_model("{source}", pretrained=True)'


def check_folder(folder: Path) -> None:
    """Refuses a folder that holds anything but an earlier export.

    Raises:
        InputError: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not all((folder / name).is_file() for name in (CONFIG, CARD)):
        raise InputError(f"--output {folder}: holds something else than an export for the hub; name another folder")
