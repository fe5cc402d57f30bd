import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks import settings
from benchmarks.checks import check_settings
from benchmarks.measuring.result import Timing
from benchmarks.scaling import child as scaling_child
from benchmarks.scaling import run as scaling
from benchmarks.scaling.child import EXCHANGES, WAIT, ClockedWorld, ExchangeClock
from benchmarks.scaling.ranks import Ranks, start_ranks
from benchmarks.scaling.run import Measured
from benchmarks.settings import ScalingConfig
from benchmarks.step.clock import PARTS
from shards.base.errors import InputError
from train.ranks.world import World

CPU = torch.device("cpu")
CONFIG = ScalingConfig(ranks=(1, 2, 4), threads=1, batch=10, size=16, nodes=(1, 2), gpus=(1, 8), network=(10.0, 100.0))


def _timing(seconds, first=1.0):
    return Timing(median=seconds, low_quartile=seconds, high_quartile=seconds, speed=first / seconds, turns=3)


def _parts(compute, *, wait=0.0, shuffle=0.0, gather=0.0, gradients=0.0):
    parts = dict.fromkeys((*PARTS, WAIT), 0.0) | dict(zip(EXCHANGES, (shuffle, gather, gradients), strict=True))
    return parts | {"backward": compute, WAIT: wait}


MEASURED = Measured(
    parts={
        1: _parts(0.98, gradients=0.02),
        2: _parts(0.98, wait=0.05, shuffle=0.05, gather=0.01, gradients=0.12),
        4: _parts(2.0, wait=0.5, shuffle=0.2, gather=0.1, gradients=0.32),
    },
    exchanges={
        2: {"tiny": 0.005, "gather": 0.05, "reduce": 0.1, "num_parameters": 1_000_000},
        4: {"tiny": 0.05, "gather": 0.2, "reduce": 0.4, "num_parameters": 1_000_000},
    },
)
TIMINGS = {"1 rank": _timing(1.0), "2 ranks": _timing(1.25), "4 ranks": _timing(3.0)}


def test_exchange_is_what_is_beyond_one_ranks_packing():
    assert MEASURED.exchange(1) == 0
    assert MEASURED.compute(1) == pytest.approx(1.0)
    assert MEASURED.exchange(2) == pytest.approx(0.05 + 0.01 + 0.10)
    assert MEASURED.compute(2) == pytest.approx(1.0), "waiting for the other rank is no computing"


def test_remarks_tell_rates_errors_and_predictions(monkeypatch):
    monkeypatch.setattr(scaling, "num_cores", lambda: 2)
    remarks = list(scaling._remarks(CONFIG, TIMINGS, MEASURED))
    said = "\n".join(remarks)
    assert "2 ranks: 16.0 images/s in all, 80% of 2 times one rank's" in said
    assert "4 ranks: 13.3 images/s in all, 33% of 4 times one rank's" in said
    # Of two ranks the model is given the exchanges: .05 + .1 and, for the keys, two hops and 5,200 bytes.
    two = next(remark for remark in remarks if "2 ranks: the model says" in remark)
    assert "the model says 1,18" in two
    assert "measured 1,250.0 (error -5%)" in two
    # Of four ranks it knows that they have half a core each.
    four = next(remark for remark in remarks if "4 ranks: the model says" in remark)
    assert "the model says 2," in four
    assert any(remark.startswith("4 ranks share 2 cores") for remark in remarks)
    assert sum(remark.startswith("predicted, ") for remark in remarks) == 2 + 2
    assert "predicted, 1 x 1: 10 images/s, an epoch in 372.4 min, exchange 0% of a step" in remarks
    assert any(remark.startswith("predicted, 2 x 8 at 10 Gbit/s or more: ") for remark in remarks)


def test_predictions_from_a_step_and_links_that_are_given():
    config = replace(CONFIG, compute=0.1, inside=800.0, nodes=(2,), gpus=(8,), network=(1.0, 100.0))
    slow, fast = list(scaling._remarks(config, TIMINGS, MEASURED))[-2:]
    assert slow.startswith("predicted, 2 x 8 at 1 Gbit/s: ")
    assert fast.startswith("predicted, 2 x 8 at 100 Gbit/s: ")
    rates = [float(remark.split(": ")[1].split()[0].replace(",", "")) for remark in (slow, fast)]
    assert rates[0] < rates[1] < 16 * 10 / 0.1


def test_without_a_second_device_exchange_inside_is_free():
    alone = Measured(parts={1: MEASURED.parts[1]}, exchanges={})
    remarks = list(scaling._remarks(replace(CONFIG, ranks=(1,)), {"1 rank": _timing(1.0)}, alone))
    assert "exchanges were not measured" in remarks[0]
    assert "predicted, 1 x 8: 80 images/s, an epoch in 46.5 min, exchange 0% of a step" in remarks


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ranks": (2, 4)}, "--ranks 2 4: 1 is to be among them"),
        ({"ranks": (0, 1)}, "--ranks 0: out of range"),
        ({"network": (0.0,)}, "--network 0.0: out of range; give a number above 0"),
        ({"nodes": ()}, "--nodes: no value given"),
        ({"queue": 8}, "--queue 8: smaller than the 32 keys of one step"),
    ],
)
def test_settings_that_cannot_be_used(wrong, message):
    config = replace(CONFIG, **{"batch": 8} | wrong)
    with pytest.raises(InputError, match=message):  # noqa: PT012 (the one or the other)
        check_settings(config)
        config.resolved()


def test_cores_are_shared_out_among_the_most_ranks(monkeypatch):
    monkeypatch.setattr(settings, "num_cores", lambda: 16)
    monkeypatch.setattr(scaling, "num_cores", lambda: 16)
    assert replace(CONFIG, threads=0).resolved().threads == 4
    assert scaling._sharing(replace(CONFIG, threads=4), 4) == 1.0
    assert scaling._sharing(replace(CONFIG, threads=8), 4) == 2.0


def test_gathers_are_charged_by_what_they_carry(monkeypatch):
    met = []
    monkeypatch.setattr(scaling_child, "dist", SimpleNamespace(barrier=lambda: met.append(1), get_world_size=lambda: 2))
    monkeypatch.setattr(World, "gather", lambda self, tensor: time.sleep(0.01) or tensor)
    clock = ExchangeClock(CPU)
    world = ClockedWorld(rank=0, size=2, local_rank=0, device=CPU, clock=clock)
    world.gather(torch.zeros(2, 1, 4, 4))
    assert not met, "ranks wait for one another only where they are timed"
    clock.is_on = True
    world.gather(torch.zeros(2, 1, 4, 4))
    assert clock.seconds["shuffle"] >= 0.01
    assert clock.seconds["key gather"] == 0
    world.gather(torch.zeros(2, 8))
    world.gather(torch.zeros(2))
    assert clock.seconds["key gather"] >= 0.02
    assert len(met) == 3


def _process(code):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_answers_come_in_rank_order():
    code = "import sys, time\nfor line in sys.stdin:\n time.sleep({})\n print({}, flush=True)"
    processes = [_process(code.format(0.2, 10)), _process(code.format(0.0, 11))]
    ranks = Ranks(processes, None)
    assert [ranks.tell("steps", 1) for _ in range(2)] == [[10, 11]] * 2
    for process in processes:
        process.communicate()


def test_a_rank_that_dies_ends_the_others_and_is_told():
    """The first rank waits for ever, as in an exchange with one that is gone."""
    with tempfile.TemporaryFile("w+") as errors:
        errors.write("ValueError: out of memory")
        processes = [_process("input(); import time; time.sleep(100)"), _process("input(); raise SystemExit(1)")]
        with pytest.raises(RuntimeError, match="2 rank.s. failed at 'steps': ValueError: out of memory"):
            Ranks(processes, errors).tell("steps", 1)
    assert all(process.poll() is not None for process in processes)
    for process in processes:
        process.communicate()


@pytest.mark.slow
def test_ranks_are_compared_timed_and_predicted():
    config = ScalingConfig(quick=True, threads=1).resolved()
    (comparison,) = scaling.run(replace(config, size=32, batch=8))
    assert list(comparison.timings) == ["1 rank", "2 ranks"]
    assert comparison.timings["2 ranks"].median > 0
    assert any("2 ranks: the model says" in remark for remark in comparison.remarks)


@pytest.mark.slow
def test_what_a_rank_cannot_do_is_told():
    setting = {"encoder": "resnet19", "size": 32, "batch": 8, "queue": 64, "threads": 1}
    with pytest.raises(RuntimeError, match="1 rank.s. failed at 'steps'(?s:.*)resnet19"):  # noqa: SIM117
        with start_ranks(1, setting, device="cpu") as ranks:
            ranks.tell("steps", 1)
