from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shards.base.dataclass_io import differing_fields, from_yaml, to_yaml
from shards.base.errors import InputError
from train.settings.checks import check_config, settle
from train.settings.config import MethodConfig, NormConfig, PretrainConfig, norm_strategy
from train.settings.faults import Rows
from train.settings.methods import METHODS
from train.settings.recipes import RECIPES, recipe
from train.settings.schedule import rate_note

BASE = replace(recipe("debug"), data=("a", "b"), output=Path("run"))


def change(section: str, **fields: Any) -> PretrainConfig:
    return replace(BASE, **{section: replace(getattr(BASE, section), **fields)})


def method(name: str, **fields: Any) -> PretrainConfig:
    """Settings of a method, of no recipe."""
    config = PretrainConfig(data=("a",), output=Path("run"))
    return replace(config, method=MethodConfig(name=name, **fields))  # type: ignore[arg-type]


def views_of(name: str, **fields: Any) -> PretrainConfig:
    """Settings of a method, with other views."""
    return replace(method(name), views=replace(BASE.views, **fields))


@pytest.mark.parametrize("name", RECIPES)
def test_yaml_round_trip(name: str) -> None:
    config = replace(recipe(name), data=("a",), output=Path("run"))
    assert from_yaml(PretrainConfig, to_yaml(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {epoch: 3}", "run.epoch: no such field; did you mean run.epochs?"),
        ("run: {epochs: many}", "run.epochs 'many': give a whole number"),
        ("run: {epochs: true}", "run.epochs True: give a whole number"),
        ("optimizer: {name: lion}", "optimizer.name 'lion': give adam or adamw or sgd"),
        ("optimizer: {betas: [0.9]}", r"optimizer.betas \[0.9\]"),
        ("run: 3", "run. 3: is no section"),
    ],
)
def test_yaml_refuses(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_yaml(PretrainConfig, text)


@pytest.mark.parametrize(
    ("config", "world_size", "message"),
    [
        (replace(BASE, data=()), 1, "--data: not given"),
        (replace(BASE, output=None), 1, "--output: not given"),
        (change("method", momentum=1.0), 1, "method.momentum 1.0"),
        (change("method", temperature=0.0), 1, "method.temperature 0.0"),
        (change("method", queue_size=8), 1, "method.queue_size 8: smaller than the 16 keys"),
        (change("method", queue_size=16), 2, "method.queue_size 16: smaller than the 32 keys"),
        (change("norm", keep_statistics=True), 1, "norm.keep_statistics: encoder.weights random brings no statistics"),
        (change("norm", keep_statistics=True, strategy="group"), 1, "norm.strategy group leaves no batch norm"),
        (change("norm", num_groups=3), 1, "norm.num_groups 3: does not split run.batch_size 16"),
        (change("norm", num_groups=16), 1, "norm.num_groups 16"),
        (change("norm", num_groups=1), 1, "norm.num_groups 1: .* would leak"),
        (change("norm", strategy="shuffle"), 1, "norm.strategy shuffle: does nothing with one process"),
        (change("method", predictor_hidden=0), 1, "method.predictor_hidden 0"),
        (change("method", redundancy=0.0), 1, "method.redundancy 0.0"),
        (change("method", num_prototypes=1), 1, "method.num_prototypes 1"),
        (change("method", sinkhorn_iterations=0), 1, "method.sinkhorn_iterations 0"),
        (change("method", sinkhorn_epsilon=0.0), 1, "method.sinkhorn_epsilon 0.0"),
        (change("method", momentum_end=0.9), 1, "method.momentum_end 0.9: method.momentum 0.95 rises to it"),
        (change("method", momentum_end=1.1), 1, "method.momentum_end 1.1"),
        (change("method", name="moco_v2plus", queue_size=31), 1, "method.queue_size 31: smaller than the 32 keys"),
        (change("norm", strategy="sync"), 2, "norm.strategy sync: with the queue of moco_v2, batch norm would leak"),
        (change("norm", strategy="plain"), 1, "norm.strategy plain: with the queue of moco_v2"),
        (
            change("norm", strategy="group", num_groups=8),
            1,
            "norm.num_groups 8: would do nothing, .*--norm.strategy split",
        ),
        (method("dino", teacher_warmup_epochs=3.0), 1, "method.teacher_warmup_epochs 3: .*give both, or neither"),
        (method("dino", teacher_temperature_end=0.07), 1, "method.teacher_warmup_epochs 0: .*give both, or neither"),
        (views_of("moco_v2", small_crops=2), 1, "views.small_crops 2: moco_v2 does not .*--method.name swav or dino"),
        (
            replace(views_of("dino", small_crops=2), loader=replace(BASE.loader, positives="study")),
            1,
            "views.small_crops 2: loader.positives study makes pairs",
        ),
        (
            replace(views_of("dino", small_crops=2), encoder=replace(BASE.encoder, name="vit_small")),
            1,
            "views.small_size 14: .*multiples of 16 px",
        ),
        (method("swav", freeze_prototypes_epochs=20.0), 1, "method.freeze_prototypes_epochs 20: .*never learn"),
        (replace(method("swav"), norm=NormConfig(strategy="shuffle")), 2, "norm.strategy shuffle: .*swav has none"),
        (
            replace(change("encoder", name="vit_small"), views=replace(BASE.views, size=40)),
            1,
            "views.size 40: .*multiples of 16 px; use 32 or 48",
        ),
        (change("run", zero_stage=3), 1, "run.zero_stage 3: .*momentum encoder"),
        (change("run", zero_stage=4), 1, "run.zero_stage 4"),
        (change("run", epochs=0), 1, "run.epochs 0"),
        (change("selection", fraction=0.0), 1, "selection.fraction 0.0"),
        (change("schedule", name="step", milestones=(2, 1)), 1, "schedule.milestones 2 1: the run has 1 epochs"),
        (change("schedule", name="constant", milestones=(0.5,)), 1, "schedule.milestones .*--schedule.name step"),
        (change("schedule", gamma=0.5), 1, "schedule.gamma 0.5: would do nothing, for cosine does not read it"),
        (change("schedule", name="constant", final_lr=1e-6), 1, "schedule.final_lr .*--schedule.name step or cosine"),
        (change("optimizer", name="sgd", betas=(0.8, 0.9)), 1, r"optimizer.betas .*--optimizer.name adam or adamw"),
        (change("optimizer", sgd_momentum=0.8), 1, "optimizer.sgd_momentum 0.8: would do nothing, for adam"),
        (change("optimizer", name="sgd", trust=0.01), 1, "optimizer.trust 0.01: .*--optimizer.name lars"),
        (change("optimizer", base_batch=128), 1, "optimizer.base_batch 128: .*--optimizer.scaling linear or sqrt"),
    ],
)
def test_refuses_settings(config: PretrainConfig, world_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_config(config, world_size=world_size)


def test_refuses_what_does_not_fit_the_data() -> None:
    with pytest.raises(InputError, match="method.queue_size 32: larger than the 31 images"):
        check_config(BASE, rows=Rows(num=31), world_size=1)
    with pytest.raises(InputError, match="run.batch_size 16: 32 images a step over 2"):
        check_config(BASE, rows=Rows(num=31), world_size=2)
    check_config(BASE, rows=Rows(num=32), world_size=1)


def test_refuses_a_run_of_no_steps() -> None:
    config = change("run", epochs=2, gradient_accumulation=5)  # 16 images a batch
    with pytest.raises(InputError, match="run.gradient_accumulation 5: more than the 4 batches .* use at most 4"):
        check_config(config, rows=Rows(num=47), world_size=1)
    check_config(config, rows=Rows(num=48), world_size=1)
    with pytest.raises(InputError, match="more than the 2 batches"):
        check_config(config, rows=Rows(num=48), world_size=2)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("moco_v3", {"queue_size": 1024}),
        ("byol", {"mask_same_patient": True}),
        ("byol", {"temperature": 0.1}),
        ("moco_v2", {"predictor_hidden": 512}),
        ("simsiam", {"projector_norm": True}),
        ("simclr", {"queue_size": 1024}),
        ("barlow_twins", {"variance_weight": 1.0}),
        ("byol", {"freeze_prototypes_epochs": 1.0}),
        ("swav", {"center_momentum": 0.5}),
        ("simsiam", {"momentum": 0.9}),
        ("barlow_twins", {"momentum_end": 1.0}),
        ("swav", {"redundancy": 0.1}),
        ("moco_v2plus", {"num_prototypes": 100}),
        ("barlow_twins", {"sinkhorn_iterations": 5}),
        ("byol", {"sinkhorn_epsilon": 0.1}),
    ],
)
def test_refuses_what_the_method_would_not_read(name: str, fields: dict[str, Any]) -> None:
    check_config(method(name), world_size=1)
    field = next(iter(fields))
    with pytest.raises(InputError, match=f"method.{field} .*: would do nothing, for {name} .*--method.name"):
        check_config(method(name, **fields), world_size=1)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_recipes_own_settings_do_not_stop_another_method(name: str) -> None:
    """``small_resnet18 --method.name byol`` leaves the recipe's queue behind; a queue that was asked for is refused."""
    small = replace(recipe("small_resnet18"), data=("a",), output=Path("run"))
    config = replace(small, method=replace(small.method, name=name))
    check_config(config, world_size=1)
    check_config(config, world_size=2)
    if name not in ("moco_v2", "moco_v2plus"):
        with pytest.raises(InputError, match="method.queue_size 2048: would do nothing"):
            check_config(replace(config, method=replace(config.method, queue_size=2048)), world_size=1)


def test_refuses_views_above_the_stored_size() -> None:
    check_config(BASE, rows=Rows(num=64, largest_side=32), world_size=1)
    with pytest.raises(InputError, match="views.size 32: .* more than 24 pixels .* use at most 24"):
        check_config(BASE, rows=Rows(num=64, largest_side=24), world_size=1)


def test_a_queue_need_not_be_a_multiple_of_the_batch() -> None:
    check_config(change("method", queue_size=33), world_size=1)


@pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].has_queue])
def test_auto_norm_is_over_all_ranks_without_a_queue(name: str) -> None:
    assert [norm_strategy(method(name), size) for size in (1, 2)] == ["plain", "sync"]
    config = replace(method(name), norm=NormConfig(strategy="sync"))
    assert [norm_strategy(config, size) for size in (1, 2)] == ["plain", "sync"]


def test_auto_norm_splits_alone_and_shuffles_in_company() -> None:
    assert [norm_strategy(BASE, size) for size in (1, 2, 8)] == ["split", "shuffle", "shuffle"]
    check_config(change("norm", num_groups=3), world_size=2)


def test_differing_fields_are_named() -> None:
    assert differing_fields(BASE, change("run", epochs=7, seed=1)) == ["run.epochs", "run.seed"]
    assert differing_fields(BASE, BASE) == []


def test_a_rate_for_another_start_is_told() -> None:
    def note(name: str, weights: str, **optimizer: float) -> str:
        config = recipe(name)
        config = replace(config, encoder=replace(config.encoder, weights=weights))
        return rate_note(replace(config, optimizer=replace(config.optimizer, **optimizer)))

    assert note("small_resnet18", "imagenet").endswith("encoder.weights imagenet is a fifth: --optimizer.lr 6e-05")
    assert note("moco_cxr_resnet18", "random").endswith("is five times as much: --optimizer.lr 0.0005")
    assert not note("small_resnet18", "imagenet", lr=2e-4)
    assert not note("small_resnet18", "random") + note("moco_cxr_resnet18", "some/run")
    assert not rate_note(PretrainConfig())


def small(**sections: dict[str, Any]) -> PretrainConfig:
    config = replace(recipe("small_resnet18"), data=("a",), output=Path("run"))
    return replace(config, **{name: replace(getattr(config, name), **fields) for name, fields in sections.items()})


def test_all_faults_are_told_at_once_with_what_mends_them_together() -> None:
    config = small(run={"batch_size": 500, "epochs": 4}, schedule={"warmup_epochs": 5}, views={"size": 96})
    with pytest.raises(InputError) as caught:
        check_config(config, world_size=1, rows=Rows(num=300, largest_side=64))
    first, *lines, last = str(caught.value).splitlines()
    assert first == "4 settings do not fit:"
    assert [line.split(":")[0] for line in lines] == [
        "schedule.warmup_epochs 5",
        "run.batch_size 500",
        "method.queue_size 1024",
        "views.size 96",
    ]
    assert last == (
        "these fit together: views.size 64 method.queue_size 256 schedule.warmup_epochs 0.4 run.batch_size 32 "
        "(--fit takes them)"
    )


def test_one_fault_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        check_config(small(), world_size=1, rows=Rows(num=300))
    assert str(caught.value).startswith("method.queue_size 1024: larger than the 300 images")
    assert len(str(caught.value).splitlines()) == 1


def test_fields_out_of_bounds_are_told_at_once_and_nothing_is_fitted() -> None:
    config = replace(small(run={"batch_size": 0, "epochs": 0}), data=())
    with pytest.raises(InputError) as caught:
        check_config(config, world_size=1)
    first, *lines = str(caught.value).splitlines()
    assert first == "3 settings do not fit:"
    assert [line.split(" ")[0] for line in lines] == ["--data:", "run.epochs", "run.batch_size"]


def test_data_and_folder_are_looked_at_together(tiny_dataset: Path, tmp_path: Path) -> None:
    config = replace(small(method={"queue_size": 10}), data=(str(tiny_dataset),), output=tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "scan.dcm").touch()
    with pytest.raises(InputError) as caught:
        settle(config, world_size=1)
    first, queue, output, together = str(caught.value).splitlines()
    assert first == "2 settings do not fit:"
    assert queue.startswith("method.queue_size 10: smaller than the 64 keys")
    assert output.startswith(f"--output {tmp_path / 'run'}: holds scan.dcm")
    assert together == "these fit together: method.queue_size 64 (--fit takes them)"
    with pytest.raises(InputError, match="^--output .* holds scan.dcm"):
        settle(config, world_size=1, fit=True)
    (tmp_path / "run" / "scan.dcm").unlink()
    assert settle(config, world_size=1, fit=True) == replace(config, method=replace(config.method, queue_size=64))
    with pytest.raises(InputError, match="2 settings do not fit:\n.*queue_size 10: .*\ndataset .*: no such folder"):
        settle(replace(config, data=(str(tmp_path / "none"),)), world_size=1)
