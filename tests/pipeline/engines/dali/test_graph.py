"""DALI's graph for a GPU, defined and serialised without one; and that a view does not depend on its batch."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nvidia.dali import fn

from pipeline.engines.dali.graph import Graph
from pipeline.views import Fill
from tests.pipeline.engines.dali.conftest import BLURRED, DEVICES, SPEC, build_engine, requests


def on_gpu(*, fill: Fill = 0.0, has_blur: bool = False) -> Graph:
    """Without a number: DALI asks for the device only when it builds."""
    device = torch.device("cuda")
    return Graph(size=32, fill=fill, device=device, num_threads=1, batch_size=4, num_views=2, has_blur=has_blur)


def no_batches() -> list[Any]:
    raise StopIteration


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a serialised message, as DALI's schema is not published with it."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        length = varint() if kind == 2 else 4
        yield number, message[at : at + length]
        at += length


def operators(serialised: bytes) -> dict[str, list[dict[str, Any]]]:
    """The arguments of each operator, by its kind: text as bytes, numbers as four bytes or whole."""
    found: dict[str, list[dict[str, Any]]] = {}
    for number, operator in fields(serialised):
        if number != 5:
            continue
        parts = list(fields(operator))
        arguments = [list(fields(part)) for number, part in parts if number == 4]
        named = {dict(argument)[1].decode(): argument[2][1] for argument in arguments if len(argument) > 2}
        found.setdefault(parts[0][1].decode(), []).append(named)
    return found


@pytest.mark.parametrize("reads", ["by row", "by reader"])
@pytest.mark.parametrize("has_blur", [False, True])
@pytest.mark.parametrize("fill", [0.0, "edge"])
def test_dali_accepts_the_graph_of_a_gpu(fill: Fill, has_blur: bool, reads: str) -> None:
    """With one decoding an image, and one warp and one blur a view on the GPU."""
    shards = None if reads == "by row" else [(Path("a.tar"), Path("a.idx"))]
    made = operators(on_gpu(fill=fill, has_blur=has_blur).define(no_batches, shards=shards).serialize())
    [decoder] = made["decoders__Image"]
    assert decoder["device"] == b"mixed"
    warps, blurs = made["WarpAffine"], made.get("GaussianBlur", [])
    assert [warp["device"] for warp in warps] == [b"gpu"] * 2
    assert [blur["device"] for blur in blurs] == [b"gpu"] * 2 * has_blur
    assert ["fill_value" in warp for warp in warps] == [fill != "edge"] * 2
    assert ("readers__Webdataset" in made) == (reads == "by reader")


def test_dali_refuses_an_argument_that_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what it accepts above says something."""
    warp = fn.warp_affine
    monkeypatch.setattr(fn, "warp_affine", lambda *at, **named: warp(*at, border="none", **named))
    with pytest.raises(KeyError, match="border"):
        on_gpu().define(no_batches)


def test_one_decoder_takes_all_images_of_a_kind_whatever_the_batch() -> None:
    """By default DALI gives a share of each batch to the hardware and the rest to CUDA, which differ by a level."""
    made = operators(on_gpu().define(no_batches).serialize())
    [decoder] = made["decoders__Image"]
    assert struct.unpack("<f", decoder["hw_decoder_load"]) == (1.0,)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spec", [SPEC, BLURRED], ids=["plain", "blurred"])
def test_a_view_does_not_depend_on_its_batch(index: Any, spec: Any, device: str) -> None:
    made = {}
    for batch_size in (1, 3, 8, 64):
        engine = build_engine(index, spec, device=device, batch_size=batch_size)
        batches = list(engine.run(requests(index, spec, batch_size=batch_size)))
        made[batch_size] = torch.cat([batch.pixels for batch in batches], dim=1)
    assert all(torch.equal(views, made[64]) for views in made.values())
