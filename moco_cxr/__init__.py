"""Everything under one name: the command ``moco-cxr``, and functions for notebooks and own code (:mod:`moco_cxr.api`).

import moco_cxr

index = moco_cxr.open_index("data/chexpert")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moco_cxr.api import (
        InputError,
        build,
        build_loader,
        embed,
        evaluate,
        from_hub,
        load_encoder,
        open_index,
        predict,
        pretrain,
        views,
    )

__all__ = [
    "InputError",
    "build",
    "build_loader",
    "embed",
    "evaluate",
    "from_hub",
    "load_encoder",
    "open_index",
    "predict",
    "pretrain",
    "views",
]


def __getattr__(name: str) -> Any:
    """The functions, once one is asked for: the command answers without torch.

    Raises:
        ImportError: another module of one of our names comes first on the import path.
    """
    if name not in __all__:
        raise AttributeError(f"module 'moco_cxr' has no attribute {name!r}; it has {', '.join(__all__)}")
    from moco_cxr.packages import check_packages

    check_packages()
    from moco_cxr import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
