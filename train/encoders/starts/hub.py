"""Folders of the Hugging Face hub, downloaded: ``hub:USER/NAME``, or ``hf-hub:`` as timm says, with ``@REVISION``.

``HF_ENDPOINT`` names another server, ``HF_TOKEN`` or ``hf auth login`` whoever may read a private one; what has been
downloaded is found without a network.
"""

import os
from pathlib import Path

from shards.base.errors import InputError
from shards.base.words import reason_of

WORDS = ("hub:", "hf-hub:")
_FILES = ("*.json", "*.safetensors", "README.md")


def is_on_hub(source: str) -> bool:
    """Whether a source begins with such a word."""
    return source.startswith(WORDS)


def download(source: str) -> Path:
    """The folder that ``hub:USER/NAME[@REVISION]`` names, in the hub's own cache.

    Raises:
        InputError: it is no such name, is not there, or could not be had.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = source.partition(":")[2].partition("@")
    if name.count("/") != 1:
        raise InputError(f"{source}: names no model of the hub; give hub:USER/NAME")
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        found = api.snapshot_download(name, revision=revision or None, allow_patterns=list(_FILES))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise InputError(
            f"{source}: could not be had ({reason_of(error)}); check the name and the network, and for a private one "
            "log in: hf auth login"
        ) from None
    return Path(found)
