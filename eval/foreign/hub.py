"""Models of the Hugging Face hub in folders that moco-cxr or timm has written, downloaded at first use."""

from eval.foreign.contract import ForeignModel
from eval.foreign.timm_network import open_folder
from shards.base.errors import InputError
from train.encoders.file import find_encoder, is_ours
from train.encoders.saved import load_encoder
from train.encoders.seen import load_seen
from train.encoders.starts.hub import WORDS, download


def open_model(name: str) -> ForeignModel:
    """Opens ``hub:USER/NAME``.

    Raises:
        InputError: see :func:`eval.foreign.contract.open_foreign`.
    """
    try:
        folder = download(f"{WORDS[0]}{name}")
    except InputError as error:  # speaks of the source, which open_foreign names
        raise InputError(str(error).partition(": ")[2]) from None
    if not is_ours(folder):
        return open_folder(folder, f"{WORDS[0]}{name}")
    loaded = load_encoder(folder)
    return ForeignModel(
        encoder=loaded.encoder,
        views=loaded.views,
        name=f"{WORDS[0]}{name}",
        num_features=loaded.encoder.num_features,  # type: ignore[arg-type]
        about=f"an encoder of moco-cxr, {loaded.name}: gray of {loaded.views.size} px, its own mean and deviation",
        seen=load_seen(find_encoder(folder), loaded.metadata),
    )
