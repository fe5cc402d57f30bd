"""Counts what a GPU would be given to do: each operator that computes or copies is a kernel launch, or several."""

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# Of shapes and memory alone; operators that only make views are known by their schema.
_FREE = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "set_",
    "as_strided_",
}
_FREE |= {"resize_", "is_pinned", "_local_scalar_dense", "split_with_sizes", "record_stream", "lift_fresh"}


class Launches(TorchDispatchMode):
    """``with Launches() as launches: ...`` and then ``launches.total``, or ``launches.counts`` by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.counts.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        if name not in _FREE and not func.is_view:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))
