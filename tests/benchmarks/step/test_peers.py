from dataclasses import replace

import pytest
import torch

from benchmarks.loader import feeds
from benchmarks.loader import peers as loader_peers
from benchmarks.loader.feeds import Setting
from benchmarks.settings import PeersConfig
from benchmarks.step import peer_blocks, peer_step, peers

CPU = torch.device("cpu")


def _momentum():
    return peer_blocks.compare_momentum("resnet18", turns=1, device=CPU)


def _loss():
    return peer_blocks.compare_loss_and_queue(64, 16, turns=1, device=CPU)


def test_blocks_are_compared_with_moco_first_and_ours_last():
    for comparison in (_momentum(), _loss()):
        names = list(comparison.timings)
        assert (names[0], names[-1]) == ("MoCo's own code", "ours (trainer)")
        assert comparison.timings[names[0]].speed == 1.0
        assert all(timing.median > 0 for timing in comparison.timings.values())
        if peer_blocks.has_lightly():
            assert "lightly" in names


def test_a_momentum_update_that_differs_is_not_timed(monkeypatch):
    monkeypatch.setattr(peer_blocks, "MomentumUpdate", lambda key, query: lambda momentum: None)
    with pytest.raises(AssertionError, match="ours .trainer.: (?s:.*)not close"):
        _momentum()


def test_a_loss_or_a_queue_that_differs_is_not_timed(monkeypatch):
    info_nce = peer_blocks.info_nce
    with monkeypatch.context() as patch:
        patch.setattr(peer_blocks, "info_nce", lambda *args, temperature: info_nce(*args, temperature=0.5))
        with pytest.raises(AssertionError, match="not close"):
            _loss()
    monkeypatch.setattr(peer_blocks.KeyQueue, "enqueue", lambda self, keys, patients: None)
    with pytest.raises(AssertionError, match="ours .trainer.: (?s:.*)not close"):
        _loss()


@pytest.mark.slow
def test_a_peer_that_is_not_installed_is_named(monkeypatch, tiny_dataset):
    for module in (peer_blocks, peer_step):
        monkeypatch.setattr(module, "has_lightly", lambda: False)
    absent = replace(loader_peers.WEBDATASET, modules=("no_such_package",))
    monkeypatch.setattr(peers, "_LOADERS", (loader_peers.REFERENCE, absent))
    monkeypatch.setattr(peers, "_ENGINES", (feeds.KORNIA,))
    setting = Setting(data=tiny_dataset, num_images=96, views="moco_cxr", size=32, batch=32, threads=2)
    step = peer_step.compare_steps("resnet18", size=32, batch=8, turns=1, device=CPU)
    for comparison in (_momentum(), _loss(), step, peers._time_loaders(setting, turns=1)):
        assert any("not installed; make bench-peers installs it" in remark for remark in comparison.remarks)
        assert not any("lightly" in name or "webdataset" in name for name in comparison.timings)


def test_losses_are_told_beside_wins(monkeypatch, tiny_dataset):
    monkeypatch.setattr(peers, "_LOADERS", (feeds.DECODING,))
    monkeypatch.setattr(peers, "_ENGINES", (feeds.KORNIA,))
    setting = Setting(data=tiny_dataset, num_images=96, views="moco_cxr", size=128, batch=32, threads=2)
    comparison = peers._time_loaders(setting, turns=1)
    assert "kornia (ours)" in comparison.timings
    assert any("is faster than kornia (ours): " in remark for remark in comparison.remarks)


def test_the_grid_has_loaders_blocks_and_a_step(monkeypatch):
    monkeypatch.setattr(peers, "_compare_loaders", lambda config: (config.images, config.turns))
    monkeypatch.setattr(peers, "compare_momentum", lambda name, **_: name)
    monkeypatch.setattr(peers, "compare_loss_and_queue", lambda size, batch, **_: (size, batch))
    monkeypatch.setattr(peers, "compare_steps", lambda name, **options: (name, options["size"], options["batch"]))
    small = PeersConfig(encoder=("resnet50", "resnet18"), queue=(1024, 4096), batch=(64, 256))
    loaders, *rest = peers.run(small)
    assert loaders == (1024, 9)
    assert rest == ["resnet50", "resnet18", (1024, 64), (1024, 256), (4096, 64), (4096, 256), ("resnet50", 96, 32)]
    assert list(peers.run(replace(small, quick=True))) == [(96, 3), "resnet50", (4096, 64), ("resnet50", 64, 16)]


@pytest.mark.skipif(not peer_blocks.has_lightly(), reason="needs lightly: make bench-peers")
def test_steps_are_checked_and_timed():
    comparison = peer_step.compare_steps("resnet18", size=32, batch=8, turns=1, device=CPU)
    assert list(comparison.timings) == ["plain: 3 channels", "lightly's blocks", "ours (trainer's method)"]
