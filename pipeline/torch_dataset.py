"""The face of a loader for programs that are built on ``torch.utils.data``.

    dataset = LoaderDataset(loader, rows=index.rows, labels=index.labels("Pleural Effusion"))
    for (view,), labels in DataLoader(dataset, batch_size=None):
        ...

The loader has made the batches already, with threads of its own: ``batch_size=None`` and ``num_workers=0``; anything
else is refused. ``pin_memory`` stays off, as views are on the loader's device. torchdata's ``StatefulDataLoader`` finds
the state; Lightning does, if its ``fit`` is given the dataset itself or a ``StatefulDataLoader``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from pipeline.loader import Loader
from pipeline.upload import upload
from shards.base.errors import InputError


class RowBatch(NamedTuple):
    """``views``: one (B, 1, S, S) tensor a view. ``rows``: (B,) int64 on the CPU."""

    views: Sequence[torch.Tensor]
    rows: torch.Tensor


class LabelBatch(NamedTuple):
    """``views``: one (B, 1, S, S) tensor a view. ``labels``: (B, ...), on the device of the views."""

    views: Sequence[torch.Tensor]
    labels: torch.Tensor


class LoaderDataset(IterableDataset[RowBatch | LabelBatch]):
    """Iterates what is left of the loader's current epoch, which then moves to the next one; its items are batches.

    Args:
        labels: (N,) or (N, ...), joined to each batch in the place of its row numbers: an array of NumPy, whose dtype
            stays, a tensor on any device, or a list.
        rows: (N,) the row numbers that ``labels`` belong to, each once: ``index.rows``, or a tensor or list of them.

    Raises:
        InputError: labels without rows or of another length; labels that are no numbers, or rows no row numbers; a
            batch has a row without a label; the dataset is iterated or sent to a worker process; its batches are
            collated into larger ones by ``torch``'s own function (a ``collate_fn`` of the user's is not seen).
    """

    def __init__(
        self,
        loader: Loader,
        *,
        labels: npt.ArrayLike | torch.Tensor | None = None,
        rows: npt.ArrayLike | torch.Tensor | None = None,
    ) -> None:
        self._loader = loader
        self._labels: torch.Tensor | None = None
        if labels is None:
            return
        if rows is None:
            raise InputError("labels: given without the rows that they belong to; give rows=index.rows too")
        values, numbers = _tensor("labels", labels), _tensor("rows", rows).numpy()
        if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise InputError(f"rows: {numbers.shape} of {numbers.dtype}; give the row numbers, rows=index.rows")
        if len(numbers) != len(values):
            raise InputError(
                f"labels: {len(values)} for {len(numbers)} rows; take the labels and the rows of one selection"
            )
        order = np.argsort(numbers)
        self._rows, self._labels = numbers[order].astype(np.int64), values[torch.from_numpy(order)]

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return len(self._loader)

    def __iter__(self) -> Iterator[RowBatch | LabelBatch]:
        if get_worker_info() is not None:  # here and not in the generator, so that no batch is asked for first
            _refuse_workers()
        return self._batches()

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to go on behind the last batch that was handed out."""
        return self._loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on behind the state's last batch, at the next iteration.

        Raises:
            InputError: as the loader's.
        """
        self._loader.load_state_dict(state)

    def __reduce__(self) -> NoReturn:
        _refuse_workers()

    def _batches(self) -> Iterator[RowBatch | LabelBatch]:
        for batch in self._loader:
            if self._labels is None:
                yield RowBatch(batch.views, batch.rows)
            else:
                places = self._find(batch.rows.numpy())
                labels = upload(self._labels[places], batch.views[0].device)
                yield LabelBatch(batch.views, labels)

    def _find(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where the labels of these rows are."""
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        unlabelled = rows[self._rows[places] != rows]
        if len(unlabelled):
            raise InputError(
                f"labels: none for row {unlabelled[0]}; give the labels and rows of the selection that is loaded"
            )
        return places


def _tensor(name: str, values: npt.ArrayLike | torch.Tensor) -> torch.Tensor:
    """What an array, a tensor or a list holds, on the CPU."""
    try:
        if isinstance(values, torch.Tensor):
            tensor = values.detach().cpu()
        elif hasattr(values, "__array__"):
            tensor = torch.from_numpy(np.array(values))  # of any strides, and from now on as it is
        else:
            tensor = torch.tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name}: holds no numbers; give an array, a tensor or a list of numbers") from None
    if not tensor.ndim:
        raise InputError(f"{name} {tensor.item()}: is one number; give one for each row")
    return tensor


def _refuse_workers() -> NoReturn:
    raise InputError(
        "num_workers: each worker process would load every batch once more; give num_workers=0 (the loader has threads "
        "of its own)"
    )


def _refuse_collation(batch: Sequence[Any], *, collate_fn_map: object = None) -> NoReturn:
    raise InputError(f"batch_size {len(batch)}: the loader has made the batches already; give batch_size=None")


# A dataset is not told that its items are collated, and batches would pass as samples, with one dimension more.
default_collate_fn_map[RowBatch] = _refuse_collation
default_collate_fn_map[LabelBatch] = _refuse_collation
