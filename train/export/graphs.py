"""A network of views as a graph: ONNX, or a program of ``torch.export``; compared with torch before it is kept."""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shards.base.errors import InputError

ABOUT = "about.json"
"""What a program of ``torch.export`` holds beside itself."""


def onnx_bytes(module: nn.Module, *, size: int, outputs: Sequence[str], about: Mapping[str, str]) -> bytes:
    """An ONNX graph from ``views`` (B, 1, size, size), for any B, to ``outputs``, with ``about`` in its metadata.

    Raises:
        InputError: a package is missing, or onnxruntime gives other values than torch.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"--format onnx: needs the package {error.name}; install moco-cxr[onnx]") from None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program: Any = torch.onnx.export(
            module,
            (torch.zeros(2, 1, size, size),),  # two, as one would be taken for a constant
            input_names=["views"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props.update(about)
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    views = _views(size)
    found = session.run(list(outputs), {"views": views.numpy()})
    _compare("onnx", module, views, [torch.from_numpy(each) for each in found], outputs)
    return content


def program_bytes(module: nn.Module, *, size: int, outputs: Sequence[str], about: Mapping[str, str]) -> bytes:
    """A program of ``torch.export`` that does the same, with ``about`` as JSON in its file :data:`ABOUT`.

    Raises:
        InputError: torch cannot make one of this network, or it gives other values.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(
                module, (torch.zeros(2, 1, size, size),), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
        except Exception as error:  # of many kinds
            raise InputError(
                f"--format pt2: torch cannot export this network ({type(error).__name__}); use onnx"
            ) from None
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={ABOUT: json.dumps(dict(about))})
        views = _views(size)
        found = torch.export.load(io.BytesIO(file.getvalue())).module()(views)
    _compare("pt2", module, views, [found] if isinstance(found, Tensor) else list(found), outputs)
    return file.getvalue()


def _views(size: int) -> Tensor:
    return torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(0))


def _compare(format: str, module: nn.Module, views: Tensor, found: Sequence[Tensor], outputs: Sequence[str]) -> None:
    with torch.no_grad():
        wanted = module(views)
    for name, value, expected in zip(outputs, found, [wanted] if isinstance(wanted, Tensor) else wanted, strict=True):
        if value.shape != expected.shape or not torch.allclose(value, expected, rtol=1e-3, atol=1e-4):
            raise InputError(
                f"--format {format}: the graph gives other {name} than torch; use another format and report the network"
            )
