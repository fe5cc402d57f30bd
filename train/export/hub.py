"""Folders to the Hugging Face hub."""

import os
from pathlib import Path

from shards.base.errors import InputError
from shards.base.words import reason_of


def check_name(name: str) -> None:
    """Refuses what is no name of a repository, before anything is written.

    Raises:
        InputError: saying so.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        if name.count("/") != 1:
            raise HFValidationError("there is no user or organisation before a slash")
    except HFValidationError as error:
        raise InputError(f"--push-to-hub {name}: {reason_of(error)}; give USER/NAME") from None


def push_folder(folder: Path, name: str, *, public: bool = False) -> str:
    """Uploads a folder as the model ``name``, which is made where it is not there, and returns its address.

    Args:
        public: whether a new one is for everyone; one that is there stays as it is.

    Raises:
        InputError: nobody is logged in, or has the right to; no network; the server refuses it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="moco-cxr")
    try:
        address = str(api.create_repo(name, private=not public, exist_ok=True))
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of moco-cxr")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
        raise InputError(
            f"--push-to-hub {name}: {reason_of(error)}; log in with a token that may write: hf auth login, and check "
            "the network"
        ) from None
    return address
