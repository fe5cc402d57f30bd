"""Images come to a network in the order that is faster for it, with the same values and results."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eval.classifier.network import ImageClassifier
from train.encoders.build import build_encoder
from train.encoders.memory_format import in_fastest_format


def _is_channels_last_inside(network: nn.Module, run: Callable[[], object]) -> bool:
    """Whether the last map of the network is."""
    (last,) = [module for name, module in network.named_modules() if name in ("layer4", "features", "conv_head")]
    seen: list[Tensor] = []
    handle = last.register_forward_hook(lambda _, __, output: seen.append(output))
    run()
    handle.remove()
    (map_,) = seen
    assert map_.is_contiguous() != map_.is_contiguous(memory_format=torch.channels_last), "tells which"
    return map_.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "size", "is_half", "expected"),
    [
        ("resnet18", 64, False, False),
        ("resnet18", 64, True, True),
        ("resnet18", 96, False, True),
        ("timm:resnet18", 64, False, False),
        ("timm:tf_efficientnet_lite0", 64, False, True),
        ("densenet121", 64, False, True),
    ],
)
def test_format_by_network_size_and_precision(name: str, size: int, is_half: bool, expected: bool) -> None:
    encoder = build_encoder(name).eval()
    images = torch.randn(2, 1, size, size)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        for given in (images, in_fastest_format(images, nn.Identity())):  # the second is channels-last already
            laid = in_fastest_format(given, encoder)
            assert torch.equal(laid, images)
            assert _is_channels_last_inside(encoder, lambda laid=laid: encoder(laid)) == expected


def test_what_comes_out_is_the_same_but_for_rounding() -> None:
    encoder = build_encoder("resnet18").eval()
    images = torch.randn(2, 1, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder(in_fastest_format(images, encoder)), encoder(images), rtol=1e-4, atol=1e-5)


def test_classifiers_of_96_px_run_channels_last() -> None:
    network = ImageClassifier(build_encoder("resnet18"), 1).eval()
    with torch.no_grad():
        assert _is_channels_last_inside(network.encoder, lambda: network(torch.randn(2, 1, 96, 96)))
        assert not _is_channels_last_inside(network.encoder, lambda: network(torch.randn(2, 1, 64, 64)))


def test_an_exported_program_keeps_the_order_it_is_given() -> None:
    network = ImageClassifier(build_encoder("resnet18"), 1).eval()
    program = torch.export.export(network, (torch.zeros(2, 1, 96, 96),))
    assert "as_strided" not in str(program.graph)
