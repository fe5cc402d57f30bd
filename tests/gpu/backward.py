"""A backward pass in plain Python: torch's own asks the driver for each device that it meets.

Nodes of the graph in the order of their dependence; gradients are added up, cast and summed to the shape and type of
what they are of, as torch does, and must be on its device.
"""

from typing import Any

import torch
from torch import Tensor


def run_backward(loss: Tensor) -> None:
    """Adds to ``.grad`` of all leaves below the scalar ``loss``."""
    gradients: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    with torch.no_grad():
        for node in _in_order(loss.grad_fn):
            given = gradients.pop(node, None)
            if given is None:
                continue
            if hasattr(node, "variable"):
                leaf = node.variable
                leaf.grad = given[0] if leaf.grad is None else leaf.grad + given[0]
                continue
            for (below, slot), gradient in zip(node.next_functions, _run(node, given), strict=False):
                if below is not None and gradient is not None:
                    mine = gradients.setdefault(below, {})
                    gradient = _fitted(gradient, below, slot)
                    mine[slot] = mine[slot] + gradient if slot in mine else gradient


def _in_order(start: Any) -> list[Any]:
    """Each node before those below it."""
    order: list[Any] = []
    seen = {start}
    stack = [(start, iter(start.next_functions))]
    while stack:
        node, below = stack[-1]
        following = next((each for each, _ in below if each is not None and each not in seen), None)
        if following is None:
            order.append(node)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(following.next_functions)))
    return order[::-1]


def _run(node: Any, given: dict[int, Tensor]) -> tuple[Tensor | None, ...]:
    about = node._input_metadata
    is_python = hasattr(node, "apply")
    arguments = [given.get(slot) for slot in range(len(about))]
    if is_python:  # a function of ours is given zeros for what has no gradient
        arguments = [
            torch.zeros(tuple(each.shape), dtype=each.dtype, device=each.device) if argument is None else argument
            for argument, each in zip(arguments, about, strict=True)
        ]
    result = node.apply(*arguments) if is_python else node(*arguments)
    return result if isinstance(result, tuple) else (result,)


def _fitted(gradient: Tensor, node: Any, slot: int) -> Tensor:
    wanted = node.variable if hasattr(node, "variable") else node._input_metadata[slot]
    assert gradient.device == wanted.device, f"{node}: a gradient on {gradient.device} of what is on {wanted.device}"
    shape = tuple(wanted.shape)
    if tuple(gradient.shape) != shape:
        gradient = gradient.sum_to_size(shape)
    return gradient.to(wanted.dtype)
