"""A CUDA device for tests on machines without one: its tensors have shape, type and device, but no content.

    with FakeCuda() as cuda:
        ...                     # builds on torch.device("cuda", 0)
        with cuda.watching():
            ...                 # a step: what the host would wait for is in cuda.found

Code runs as it is. What mixes devices raises. While watching it notes reads by the host, copies that block, copies from
memory that is not pinned, operators that wait inside, and synchronisation, each with the project's line that did it.
"""

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.gpu.backward import run_backward
from tests.gpu.waits import READS

DEVICE = torch.device("cuda", 0)
# Operators that look at what they have computed before they return: for errors, or for the size of their result.
_WAITS = {"_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_lstsq", "multinomial", "histc"}
_PROJECT = ("/shards/", "/pipeline/", "/train/", "/eval/", "/tests/")


class FakeCuda(TorchDispatchMode):
    """The device, while inside; ``found`` counts what a step was noted for, while ``is_watching``."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.is_watching = False
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._pinned: dict[int, Any] = {}  # storages by address; held, so that no address comes again

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """What happens inside is a step."""
        self.is_watching = True
        try:
            yield
        finally:
            self.is_watching = False

    def __enter__(self) -> "FakeCuda":
        torch._C._ensureCUDADeviceGuardSet()
        self._stack = contextlib.ExitStack()
        for place, name, replacement in self._replaced():
            self._stack.enter_context(mock.patch.object(place, name, replacement))
        self._stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        self._stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        for setter, getter in (
            (torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors),
            (
                torch.__future__.set_overwrite_module_params_on_conversion,
                torch.__future__.get_overwrite_module_params_on_conversion,
            ),
        ):
            self._stack.callback(setter, getter())
            setter(True)
        self._stack.enter_context(self._fake)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.is_inference_mode_enabled() and _is_of_parts(func):
            with self._again():  # elsewhere it comes in its parts
                return func.decompose(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        is_on_device = any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs)))
        to_device = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda"
        if name == "is_pinned":
            return self._is_pinned(args[0])
        if not is_on_device and not to_device:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if name in READS:
            self._note("the host reads")
        if name in _WAITS:
            self._note(f"{name} waits")
        if name in ("index", "index_put_", "index_put", "_index_put_impl_") and _has_mask(args[1]):
            self._note("the host reads a mask")
        if name == "_to_copy":
            if not to_device and torch.device(kwargs.get("device") or args[0].device).type == "cpu":
                self._note("the host reads")
                with unset_fake_temporarily():  # what a host has is real
                    return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            self._note_upload(args[0], is_blocking=not kwargs.get("non_blocking"))
        if name == "copy_":
            is_blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            if args[0].device.type == "cpu":
                self._note("the host reads")
                return args[0]
            self._note_upload(args[1], is_blocking=is_blocking)
        if name == "_local_scalar_dense":
            return True if args[0].dtype == torch.bool else (1.0 if args[0].is_floating_point() else 1)
        if name in ("is_nonzero", "equal"):
            return True
        args, kwargs = tree_map_only(Tensor, self._faked, (args, kwargs))
        return func(*args, **kwargs)

    @contextlib.contextmanager
    def _again(self) -> Iterator[None]:
        super().__enter__()
        try:
            yield
        finally:
            super().__exit__(None, None, None)

    def _faked(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        return self._fake.from_tensor(tensor.detach() if tensor.requires_grad else tensor)

    def _note(self, what: str) -> None:
        if self.is_watching:
            frames = [frame for frame in traceback.extract_stack() if any(part in frame.filename for part in _PROJECT)]
            own = {__file__, run_backward.__code__.co_filename}
            where = [frame for frame in frames if frame.filename not in own][-1]
            self.found[f"{what} at {'/'.join(where.filename.split('/')[-2:])}:{where.lineno}"] += 1

    def _note_upload(self, source: Tensor, *, is_blocking: bool) -> None:
        if source.device.type == "cpu" and is_blocking:
            self._note("an upload blocks")
        elif source.device.type == "cpu" and not self._is_pinned(source):
            self._note("an upload from memory that is not pinned")

    def _is_pinned(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, FakeTensor) and tensor.untyped_storage().data_ptr() in self._pinned

    def _pin(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._pinned[storage.data_ptr()] = storage
        return tensor

    def _replaced(self) -> Iterator[tuple[Any, str, Any]]:
        """What asks the driver, in whatever thread."""
        empty, cuda, whole, moved = torch.empty, torch.cuda, torch.Tensor.backward, nn.Module.to

        def make_empty(*size: Any, pin_memory: bool = False, **more: Any) -> Tensor:
            made = empty(*size, **more)
            return self._pin(made) if pin_memory else made

        def backward(loss: Tensor, *args: Any, **more: Any) -> None:
            (run_backward if isinstance(loss, FakeTensor) else whole)(loss, *args, **more)

        def move(module: nn.Module, *args: Any, **more: Any) -> nn.Module:
            parts = [*module.parameters(), *module.buffers()]
            is_there = bool(parts) and all(isinstance(part, FakeTensor) for part in parts)
            return module if is_there else moved(module, *args, **more)  # torch would exchange each for itself

        yield torch, "empty", make_empty
        yield nn.Module, "to", move
        yield torch.Tensor, "pin_memory", lambda host: host if self._is_pinned(host) else self._pin(host.clone())
        yield torch.Tensor, "record_stream", lambda tensor, stream: None
        yield torch.Tensor, "backward", backward
        answers: dict[str, Callable[..., Any]] = {
            "is_available": lambda: True,
            "current_device": lambda: 0,
            "device_count": lambda: 1,
            "set_device": lambda device: None,
            "device": lambda device: contextlib.nullcontext(),
            "Stream": _Stream,
            "current_stream": lambda device=None: _Stream(),
            "stream": lambda stream: contextlib.nullcontext(),
            "mem_get_info": lambda device=None: (100 * 2**30, 139 * 2**30),
            "is_bf16_supported": lambda including_emulation=True: True,
            "get_device_name": lambda device=None: "a device without content",
            "get_device_capability": lambda device=None: (9, 0),
            "max_memory_allocated": lambda device=None: 0,
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": lambda state, device=None: None,
            "synchronize": lambda device=None: self._note("synchronize"),
        }
        for name, answer in answers.items():
            yield cuda, name, answer


class _Stream:
    cuda_stream = 1

    def __init__(self, device: Any = None) -> None: ...
    def wait_stream(self, other: Any) -> None: ...


def _has_mask(indices: Any) -> bool:
    return any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in indices)


def _is_of_parts(func: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return func.namespace == "aten" and func.has_kernel_for_dispatch_key(key)
