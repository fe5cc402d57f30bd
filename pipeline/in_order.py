"""A forward pass over a selection in its order: evaluation views through a module in evaluation mode.

Legend: N rows of the selection, B batch, S side of a view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.device import find_device
from pipeline.loader import build_loader
from pipeline.options import DamagePolicy, EngineName
from pipeline.views import ViewSpec
from shards.base.bar import Bar
from shards.index import ShardIndex


@dataclass(frozen=True)
class Outputs:
    """On the CPU: ``values`` (N, ...) float32; ``has_come`` (N,), False where a damaged image was skipped, whose values
    are zeros."""

    values: Tensor
    has_come: Tensor


@torch.no_grad()
def outputs_in_order(
    module: nn.Module,
    index: ShardIndex,
    spec: ViewSpec,
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    engine: EngineName = "auto",
    num_threads: int | None = None,
    on_damage: DamagePolicy = "error",
    checksums: bool = True,
    description: str | None = None,
) -> Outputs:
    """What the module makes of views (B, 1, S, S) of the selected rows, in the order of the selection.

    The module is in evaluation mode meanwhile, so its batch norm learns nothing and an output does not depend on its
    batch; then every part of it is back in the mode it was in. It is moved to the device.

    Args:
        spec: its evaluation views are taken.
        description: of the progress bar; default: there is none.

    Raises:
        InputError: see :func:`pipeline.loader.build_loader`; a damaged image, unless these are skipped.
    """
    device = find_device(device)
    loader = build_loader(
        index,
        spec.evaluation(),
        batch_size=batch_size,
        num_views=1,
        engine=engine,
        device=device,
        shuffle="none",
        last="short",
        num_threads=num_threads,
        on_damage=on_damage,
        checksums=checksums,
    )
    module = module.to(device)
    modes = {part: part.training for part in module.modules()}
    values: Tensor | None = None
    has_come = torch.zeros(len(index), dtype=torch.bool)
    module.eval()
    try:
        with loader, Bar(total=len(index), desc=description, unit="img", disable=description is None) as progress:
            for batch in loader:
                output = module(batch.views[0]).float().cpu()  # (B, ...)
                if values is None:
                    values = output.new_zeros((len(index), *output.shape[1:]))
                positions = torch.from_numpy(index.positions(batch.rows))
                values[positions], has_come[positions] = output, True
                progress.update(len(output))
    finally:
        for part, is_training in modes.items():
            part.training = is_training
    assert values is not None, "the loader refuses an empty selection"
    return Outputs(values, has_come)
