"""Counts what a host would wait for, were the device a GPU: seen from a CPU, in whatever code it is."""

import traceback
from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# Operators that bring a value to the host, to return it or to know a shape.
READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "bincount", "_unique2"}
READS |= {"unique_dim", "unique_consecutive", "repeat_interleave", "item"}
# A number, or a list of them, that becomes a tensor: on a GPU a copy from memory that is not pinned.
MADE = {"lift_fresh"}


class Waits(TorchDispatchMode):
    """``with Waits() as waits: ...`` and then ``waits.found``: how often what was waited for, by what and where.

    ``synchronize`` of DeepSpeed's accelerator is counted too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __enter__(self) -> "Waits":
        from deepspeed.accelerator import get_accelerator

        self._kind: Any = type(get_accelerator())
        self._synchronize = self._kind.synchronize
        self._kind.synchronize = lambda *arguments: self._note("synchronize")
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._kind.synchronize = self._synchronize

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        if name in READS:
            self._note("read")
        elif name in MADE:
            self._note("made on the host")
        return func(*args, **(kwargs or {}))

    def _note(self, what: str) -> None:
        frame = [each for each in traceback.extract_stack() if "/torch/" not in each.filename][-3]
        self.found[f"{what} at {'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}"] += 1
