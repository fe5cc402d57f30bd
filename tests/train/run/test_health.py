from typing import Any

import pytest

from train.run.health import find_warnings


def line(step: int, *, accuracy: float | None = 50.0, spread: float = 0.9, rank: float = 200.0) -> dict[str, Any]:
    known = {} if accuracy is None else {"pretext_accuracy(%)": accuracy}
    return {"step": step, "loss": 1.0, "embedding_spread": spread, "effective_rank": rank, **known}


def alarms(*lines: dict[str, Any], queue_size: int = 0, images_per_step: int = 10) -> dict[str, str]:
    return find_warnings(lines, images_per_step=images_per_step, queue_size=queue_size)


def test_a_healthy_run_is_left_alone() -> None:
    assert alarms(*(line(step, accuracy=92.7) for step in (20, 40, 60, 80, 500))) == {}


def test_equal_embeddings_are_a_collapse() -> None:
    found = alarms(line(100), line(200, spread=0.02))
    assert found.keys() == {"collapse"}
    assert found["collapse"].startswith("collapse at step 200: the embeddings of different images are nearly equal")
    assert "optimizer.lr" in found["collapse"]


def test_one_direction_is_a_collapse() -> None:
    assert "hardly more than one direction (effective_rank 1.2;" in alarms(line(200, rank=1.2))["collapse"]


def test_the_rank_of_few_images_is_no_sign() -> None:
    assert alarms(line(200), line(210, rank=1.2)) == {}
    assert find_warnings([line(200, rank=1.2)], images_per_step=10, queue_size=0, num_ranks=10) != {}
    assert find_warnings([line(200, rank=1.2)], images_per_step=10, queue_size=0, num_ranks=20) == {}


def test_the_first_steps_are_not_judged() -> None:
    assert alarms(line(10, spread=0.02, rank=1.0)) == {}


def test_a_solved_task_names_the_knobs() -> None:
    found = alarms(line(50, accuracy=99.4), line(100, accuracy=99.6))
    assert found.keys() == {"nearly_solved"}
    assert "accuracy 99.6 % of the last 500 images" in found["nearly_solved"]
    for knob in ("views.area", "views.brightness", "norm.strategy", "method.queue_size"):
        assert knob in found["nearly_solved"]


@pytest.mark.parametrize(
    ("lines", "queue_size"),
    [
        ([line(50, accuracy=98.9)], 0),
        ([line(40, accuracy=100.0)], 0),  # 400 images say little
        ([line(80, accuracy=100.0)], 1000),  # the queue still fills
        ([line(90, accuracy=100.0), line(140, accuracy=100.0)], 1000),  # begins before it is full
        ([line(50, accuracy=97.0), line(90, accuracy=100.0)], 0),  # 900 images, 98.3 %
        ([line(500, accuracy=None)], 0),  # a method without such a task
    ],
)
def test_what_is_not_called_solved(lines: list[dict[str, Any]], queue_size: int) -> None:
    assert alarms(*lines, queue_size=queue_size) == {}


def test_short_lines_count_together_once_the_queue_is_full() -> None:
    lines = [line(step, accuracy=100.0) for step in range(20, 181, 20)]
    found = [bool(alarms(*lines[:number], queue_size=1000)) for number in range(1, 10)]
    assert found == [False] * 7 + [True] * 2  # 500 images behind step 100 are there at step 160


def test_each_kind_is_given_once() -> None:
    lines = [line(200, spread=0.01) | {"warnings": {"collapse": "..."}}, line(300, spread=0.01, accuracy=100.0)]
    assert alarms(*lines).keys() == {"nearly_solved"}


def test_lines_of_other_things_are_passed_over() -> None:
    knn = {"step": 100, "epoch": 1.0, "knn_auroc/Edema": 0.7}
    assert alarms(line(50, accuracy=100.0), knn, line(101, accuracy=100.0)).keys() == {"nearly_solved"}
