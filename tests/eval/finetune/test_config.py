"""How long a fine-tuning lasts, and which settings are refused."""

import dataclasses

import pytest

from eval.finetune.config import PUBLISHED, FinetuneConfig
from eval.training.config import default_epochs, num_steps, validation_steps
from shards.base.errors import InputError


@pytest.mark.parametrize(("fraction", "epochs"), [(1.0, 5), (0.1, 23), (0.01, 107), (0.001, 500)])
def test_epochs_are_the_papers_at_its_fractions(fraction: float, epochs: float) -> None:
    assert default_epochs(fraction) == pytest.approx(epochs)


def test_epochs_between_the_papers_fractions_lie_between_its_epochs() -> None:
    fractions = [1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0]
    epochs = [default_epochs(fraction) for fraction in fractions]
    assert epochs == sorted(epochs, reverse=True)
    assert default_epochs(10**-0.5) == pytest.approx((5 * 23) ** 0.5)  # half-way, in the logarithms
    assert default_epochs(1e-6) == pytest.approx(500)


def test_steps_cover_the_epochs_within_the_limits() -> None:
    config = FinetuneConfig(batch_size=16, min_steps=0)
    assert num_steps(config, fraction=1.0, num_images=1600) == 500
    assert num_steps(config, fraction=0.001, num_images=10) == 500  # one batch of ten an epoch
    assert num_steps(dataclasses.replace(config, max_steps=40), fraction=1.0, num_images=1600) == 40
    assert num_steps(dataclasses.replace(config, min_steps=900), fraction=1.0, num_images=1600) == 900
    assert num_steps(dataclasses.replace(config, epochs=2), fraction=1.0, num_images=1600) == 200


def test_validations_are_even_and_end_with_the_last_step() -> None:
    assert validation_steps(FinetuneConfig(validations=4), 100) == {25, 50, 75, 100}
    assert validation_steps(FinetuneConfig(validations=20), 3) == {1, 2, 3}


def test_published_settings_are_settings() -> None:
    FinetuneConfig(**PUBLISHED).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, r"finetune\.lr 0"),
        ({"encoder_factor": 2.0}, r"finetune\.encoder_factor 2"),
        ({"layer_decay": 0.0}, r"finetune\.layer_decay 0"),
        ({"max_steps": 0}, r"finetune\.max_steps 0"),
        ({"validations": 0}, r"finetune\.validations 0"),
        ({"batch_size": 9, "num_processes": 2}, r"finetune\.batch_size 9.*multiple of the 2"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FinetuneConfig(**settings).check()
