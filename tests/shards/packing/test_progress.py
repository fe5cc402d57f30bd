import time

from shards.base import bar
from shards.packing import progress
from shards.packing.progress import ShardProgress, progress_bar


def test_the_bar_moves_within_a_shard(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_WRITE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_SHOW_SECONDS", 0.05)
    monkeypatch.setattr(bar, "LINE_SECONDS", 0.0)
    with (
        progress_bar(tmp_path, total=30, done=10, title="packing x"),
        ShardProgress(tmp_path / "a.progress") as one,
        ShardProgress(tmp_path / "b.progress") as two,
    ):
        for _ in range(10):
            time.sleep(0.02)
            one.add()
            two.add()
    shown = capsys.readouterr().err
    counts = {int(part.split("/30")[0].split()[-1]) for part in shown.splitlines()}
    assert max(counts) == 30
    assert len(counts) > 4


def test_counts_are_written_at_most_twice_a_second(tmp_path):
    with ShardProgress(tmp_path / "a.progress") as shard:
        for _ in range(1000):
            shard.add()
        assert (tmp_path / "a.progress").stat().st_size == 0
    assert (tmp_path / "a.progress").stat().st_size == 1000


def test_a_shard_packed_again_is_not_counted_twice(tmp_path):
    for _ in range(2):
        with ShardProgress(tmp_path / "a.progress") as shard:
            shard.add()
    assert (tmp_path / "a.progress").stat().st_size == 1
