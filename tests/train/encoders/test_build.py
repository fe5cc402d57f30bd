import pytest
import timm
import torch
import torchvision

from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.settings.architectures import ENCODERS, check_view_size

NUM_FEATURES = {"resnet18": 512, "resnet50": 2048, "densenet121": 1024, "vit_small": 384, "vit_small_moco_v3": 384}


@pytest.mark.parametrize("name", ENCODERS)
def test_takes_gray_to_pooled_features(name: str) -> None:
    encoder = build_encoder(name).eval()
    assert encoder.num_features == NUM_FEATURES[name]
    with torch.no_grad():
        assert encoder(torch.randn(2, 1, 64, 64)).shape == (2, NUM_FEATURES[name])
        assert encoder(torch.randn(1, 1, 96, 96)).shape == (1, NUM_FEATURES[name])
    architecture = ENCODERS[name]
    if architecture.library == "torchvision":
        plain = torchvision.models.get_model(name, weights=None).state_dict()
        assert encoder.state_dict().keys() == {key for key in plain if not key.startswith(f"{architecture.heads[0]}.")}
    else:
        plain = timm.create_model("vit_small_patch16_224", in_chans=1, num_classes=0).state_dict()
        assert {key: value.shape for key, value in encoder.state_dict().items()} == {
            key: value.shape for key, value in plain.items()
        }


@pytest.mark.parametrize("name", ["resnet18", "vit_small_moco_v3"])
def test_start_depends_on_the_seed_alone_and_leaves_the_global_state(name: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (build_encoder(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)
    stem = f"{ENCODERS[name].stem}.weight"
    assert not torch.equal(first[stem], other[stem])


def test_gray_stem_starts_as_torchvision_starts_its_own() -> None:
    # by fan-out: 64 channels of 7 x 7
    assert build_encoder("resnet18").conv1.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)  # type: ignore[union-attr, operator]


def test_vit_of_moco_v3_has_12_heads_and_never_trains_positions_and_patches() -> None:
    encoder = build_encoder("vit_small_moco_v3")
    assert {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad} == {
        "pos_embed",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
    }
    heads = {name: build_encoder(name).blocks[0].attn.num_heads for name in ("vit_small", "vit_small_moco_v3")}  # type: ignore[index, union-attr]
    assert heads == {"vit_small": 6, "vit_small_moco_v3": 12}
    encoder(torch.randn(2, 1, 64, 64)).sum().backward()
    assert encoder.get_parameter("pos_embed").grad is None
    assert encoder.get_parameter("cls_token").grad is not None


def test_refuses_what_does_not_exist_or_fit() -> None:
    with pytest.raises(InputError, match="encoder.name 'vgg'.*vit_small"):
        build_encoder("vgg")
    check_view_size("resnet18", 321)
    check_view_size("vit_small", 320)
    with pytest.raises(InputError, match="views.size 70: vit_small takes multiples of 16 px; use 64 or 80"):
        check_view_size("vit_small", 70)
