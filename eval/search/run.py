"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all candidates are pretrained for a part of the
budget and probed, the better half goes on for twice as long, until the budget is reached.

What has been done is kept in the folder, so that the same command goes on after any stop.
"""

import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from eval.grid.config import Settings, grid_of_run
from eval.search.config import Candidate, SearchConfig, candidates, epochs_at, num_rungs, run_config
from eval.search.probe import Probe, gain_of
from eval.search.state import Standing, State, open_state
from eval.search.table import standings_text, write_page
from shards.base.errors import InputError
from shards.base.locks import Lock
from train.encoders.file import FILES
from train.encoders.saved import load_encoder
from train.run.loop import pretrain
from train.settings.checks import settle


def run_search(config: SearchConfig, *, opens_test: bool) -> bool:
    """Searches, prints the table, and writes it as ``search.html``.

    Args:
        opens_test: at the end, compare the chosen candidate on the test split; once.

    Returns:
        whether it came to its end; False where a run was asked to stop.

    Raises:
        InputError: a mistake in the settings or the data, before anything is computed; all candidates failed; or the
            test split was opened for another candidate.
    """
    tried, probe = candidates(config), Probe(config)
    with Lock(config.folder.with_name(f"{config.folder.name}.lock")).hold():
        state = open_state(config)
        state.save()
        standings = _halve(config, tried, probe, state)
        if standings is None:
            return False
        print(standings_text(standings))
        first = standings[0]
        print(f"best: {first.candidate}" + ("" if opens_test else "; --open-test looks at the test split, once"))
        if first.gain is not None and first.gain.mean <= 0:
            print("but it is no better than a random start; a longer run, other views or another rate may be")
        print(f"written: {write_page(standings, config)}")
        if opens_test:
            _open_test(config, standings[0].candidate, state)
    return True


def _halve(config: SearchConfig, left: list[Candidate], probe: Probe, state: State) -> list[Standing] | None:
    """All standings, the last rung's best first; None where a run was asked to stop."""
    rungs, found = num_rungs(config, len(left)), list[Standing]()
    for rung in range(rungs):
        standings = []
        for candidate in left:
            standing = _measure(config, candidate, probe, state, rung=rung, rungs=rungs)
            if standing is None:
                return None
            standings.append(standing)
        standings.sort(key=lambda each: -np.inf if each.gain is None else each.gain.mean, reverse=True)
        whole = [each for each in standings if each.gain is not None]
        if not whole:
            raise InputError(f"candidate {standings[0].candidate}: {standings[0].problem}; and no other one is left")
        most = len(whole) if rung == rungs - 1 else -(-len(left) // 2)
        names = [each.candidate for each in whole[:most]]
        is_last = rung == rungs - 1
        found = [replace(each, goes_on=each.candidate in names and not is_last) for each in standings] + found
        left = [each for each in left if each.name in names]
        print(f"rung {rung + 1} of {rungs}: {', '.join(names)} of {len(standings)}", file=sys.stderr)
    return found


def _measure(
    config: SearchConfig, candidate: Candidate, probe: Probe, state: State, *, rung: int, rungs: int
) -> Standing | None:
    aurocs, seconds, epochs = [], 0.0, 0
    for seed in config.seeds:
        name = f"{candidate.name} seed {seed}"
        try:
            folder = _train(config, candidate, state, seed=seed, rung=rung, rungs=rungs)
        except InputError as error:  # such as a loss that is not finite
            why = "; ".join(str(error).splitlines())
            print(f"warning: candidate {name}: {why}", file=sys.stderr)
            return Standing(candidate=candidate.name, rung=rung, epochs=0, seconds=0.0, gain=None, problem=why)
        if folder is None:
            return None
        run = state.run(name)
        kept = run["aurocs"].get(str(rung))
        if kept is None:
            kept = run["aurocs"][str(rung)] = [each.tolist() for each in probe.aurocs(folder)]
            run.setdefault("rungs", {})[str(rung)] = {"epochs": run["epochs"], "seconds": run["seconds"]}
            state.save()
        aurocs.append((np.array(kept[0]), np.array(kept[1])))
        seconds += run["rungs"][str(rung)]["seconds"] / len(config.seeds)
        epochs = max(epochs, run["rungs"][str(rung)]["epochs"])
    return Standing(candidate=candidate.name, rung=rung, epochs=epochs, seconds=seconds, gain=gain_of(aurocs))


def _train(
    config: SearchConfig, candidate: Candidate, state: State, *, seed: int, rung: int, rungs: int
) -> Path | None:
    """The folder of a run that is as long as the rung says; None where it was asked to stop."""
    run = state.run(f"{candidate.name} seed {seed}")
    if str(rung) in run["aurocs"]:
        return _folder(config, candidate.name, seed, run["rungs"][str(rung)]["epochs"])
    while _is_short(config, candidate, run, rung=rung, rungs=rungs):
        epochs = run["epochs"] + 1 if config.images is None else epochs_at(config, candidate, rung, rungs)
        folder = _folder(config, candidate.name, seed, epochs)
        settings = run_config(config, candidate, seed=seed, epochs=epochs, output=folder)
        begin = perf_counter()
        pretrain(settle(settings, world_size=1))
        seconds = perf_counter() - begin
        if not _has_ended(settings.run.gradient_accumulation, settings.run.batch_size, epochs, candidate, folder):
            run["seconds"] += seconds
            state.save()
            return None
        run["epochs"], run["seconds"] = epochs, run["seconds"] + seconds
        state.save()
    return _folder(config, candidate.name, seed, run["epochs"])


def _is_short(config: SearchConfig, candidate: Candidate, run: dict[str, float], *, rung: int, rungs: int) -> bool:
    if config.images is not None:
        return run["epochs"] < epochs_at(config, candidate, rung, rungs)
    assert config.minutes is not None
    return run["seconds"] < 60 * config.minutes / 2 ** (rungs - 1 - rung)


def _has_ended(accumulation: int, batch: int, epochs: int, candidate: Candidate, folder: Path) -> bool:
    """Whether the encoder that lies in a run's folder is that of its last step: a run that is to be longer keeps the
    former one until then."""
    if not (folder / FILES["query"]).exists():
        return False
    step = load_encoder(folder).metadata["step"]
    return bool(step == epochs * (candidate.num_images // batch) // accumulation)


def _folder(config: SearchConfig, candidate: str, seed: int, epochs: int) -> Path:
    """Of a run; one for each length where a longer run is not the shorter one continued."""
    name = f"{candidate} seed {seed}" + (f" epochs {epochs}" if config.schedule == "own" else "")
    return config.folder / "runs" / "".join(each if each.isalnum() or each in "._" else "-" for each in name)


def _open_test(config: SearchConfig, chosen: str, state: State) -> None:
    """Compares the chosen candidate's runs on the test split, and remembers that it has been looked at."""
    if state.tested not in (None, chosen):
        raise InputError(
            f"--open-test: the test split was opened for {state.tested} already, and {chosen} is chosen now; a second "
            "look would choose by it"
        )
    state.tested = chosen
    state.save()
    from eval.grid.run import run_grid
    from eval.report.tables import text_tables

    runs = tuple(_folder(config, chosen, seed, state.run(f"{chosen} seed {seed}")["epochs"]) for seed in config.seeds)
    settings = Settings(
        data=tuple(map(Path, config.data)),
        label=config.label,
        uncertain=config.uncertain,
        view=config.view,
        random_starts=config.random_starts,
        device=config.device,
        engine=config.engine,
    )
    comparison = run_grid(grid_of_run(runs, ("random",), "linear", settings, output=config.folder / "test"))
    print(text_tables([comparison]))
