from train.ranks.silence import Silence


def test_who_is_silent_and_for_how_long() -> None:
    silence = Silence(3, now=100.0, most=2.0)
    for second in range(1, 41):
        silence.look([0] if second <= 10 else [0, 1], now=100.0 + second)
    assert silence.longer_than(39.9) == [2]
    assert silence.longer_than(40.0) == []
    silence.look([], now=141.0)
    assert silence.longer_than(0.9) == [0, 1, 2]
    assert silence.longer_than(40.0) == [2]
    silence.look([2], now=142.0)
    assert silence.longer_than(0.0) == [0, 1]


def test_time_in_which_this_process_did_not_run_counts_for_nobody() -> None:
    """All ranks are suspended and go on, as a batch system does it: at first nobody has been heard for an hour."""
    silence = Silence(2, now=0.0, most=2.0)
    silence.look([1], now=3600.0)
    assert silence.longer_than(2.0) == []
    silence.look([], now=7200.0)
    assert silence.longer_than(3.9) == [0]
    assert silence.longer_than(4.0) == []
