import pytest
import torch

from benchmarks.measuring.data import PatientRows
from benchmarks.scaling.model import FREE, Link, Sizes, fit_link, predict
from train.methods.contract import TrainingData
from train.methods.moco import MoCo
from train.ranks.world import World
from train.settings.config import EncoderConfig, MethodConfig, PretrainConfig, RunConfig

SIZES = Sizes(images=1000, keys=100, gradients=6000)
LINK = Link(latency=0.5, gather=100.0, reduce=1000.0)


def test_sizes_are_those_of_what_the_trainer_exchanges():
    config = PretrainConfig(
        encoder=EncoderConfig(name="resnet18"),
        method=MethodConfig(queue_size=32),
        run=RunConfig(batch_size=8, precision="fp32"),
    )
    world = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
    method = MoCo(config, world, TrainingData(PatientRows(8)))
    views = tuple(torch.randn(2, 8, 1, 32, 32))
    objective = method.objective(method.model, views, rows=torch.arange(8), batch=0)
    objective.loss.backward()
    (keys, patients), *_ = method._fresh
    sizes = Sizes.of(
        batch=8, pixels=32, embedding=128, num_parameters=sum(p.numel() for p in method.model.parameters())
    )
    assert sizes.images == views[0].nbytes
    assert sizes.keys == keys.nbytes + patients.nbytes
    assert sizes.gradients == sum(p.grad.nbytes for p in method.model.parameters())


def test_one_rank_exchanges_nothing():
    alone = predict(1, compute=2.0, sizes=SIZES, link=LINK)
    assert alone.exchange == 0
    assert alone.step == 2.0


def test_parts_by_hand():
    four = predict(4, compute=2.0, sizes=SIZES, link=LINK, sharing=1.5)
    assert four.compute == 3.0
    assert four.shuffle == pytest.approx(3 * 0.5 + 3 * 1000 / 100)
    assert four.key_gather == pytest.approx(2 * 3 * 0.5 + 3 * 100 / 100), "keys and patients, a gather each"
    assert four.gradient_exchange == pytest.approx(6 * 0.5 + 2 * 3 / 4 * 6000 / 1000)
    assert four.step == pytest.approx(four.compute + four.exchange)


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_a_fitted_link_gives_what_it_was_fitted_to(num_ranks):
    made = predict(num_ranks, compute=0.0, sizes=SIZES, link=LINK)
    tiny = (num_ranks - 1) * LINK.latency
    found = fit_link(num_ranks, tiny=tiny, gather=made.shuffle, reduce=made.gradient_exchange, sizes=SIZES)
    for name in ("latency", "gather", "reduce"):
        assert getattr(found, name) == pytest.approx(getattr(LINK, name)), name


def test_a_network_slows_down_and_never_speeds_up():
    assert LINK.through(50.0) == Link(latency=0.5, gather=50.0, reduce=50.0)
    assert LINK.through(500.0) == Link(latency=0.5, gather=100.0, reduce=500.0)
    assert LINK.through(1e9) == LINK
    assert predict(8, compute=1.0, sizes=SIZES, link=FREE).step == 1.0
