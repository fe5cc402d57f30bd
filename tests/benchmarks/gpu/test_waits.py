import warnings

import pytest
import torch

from benchmarks.gpu.waits import Watch
from train.run.monitor import Monitor

CPU = torch.device("cpu")


@pytest.fixture
def quiet_monitor(monkeypatch):
    monkeypatch.setattr(Monitor, "observe", lambda self, objective: None)


@pytest.mark.usefixtures("quiet_monitor")
def test_waits_are_counted_by_their_place_in_the_second_half():
    before = torch.cuda.synchronize, warnings.showwarning, Monitor.observe
    watch = Watch(CPU)
    with watch:
        for batch in range(8):
            Monitor.observe(None, None)
            if batch < 2:
                torch.cuda.synchronize()  # while things start
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            if batch == 7:
                torch.cuda.synchronize()  # behind the last batch
    found, batches = watch.second_half()
    assert batches == 3
    (place,) = found
    assert place.startswith("operator in gpu/test_waits.py:")
    assert found[place] == 3
    assert (torch.cuda.synchronize, warnings.showwarning, Monitor.observe) == before


@pytest.mark.usefixtures("quiet_monitor")
def test_other_warnings_are_shown():
    with pytest.warns(UserWarning, match="something else"), Watch(CPU):
        warnings.warn("something else", stacklevel=1)
