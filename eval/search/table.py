"""The table of a search, for terminals and as a page."""

import html
from collections.abc import Sequence
from pathlib import Path

from eval.report.terminal import aligned
from eval.search.config import SearchConfig
from eval.search.state import Standing
from shards.base.atomic import atomic_write

_HEAD = ("rung", "candidate", "epochs", "minutes", "gain", "standard error", "goes on")
_STYLE = "body{font:15px sans-serif;margin:2em auto;max-width:70em}td,th{padding:.2em .8em;text-align:left}"


def standings_text(standings: Sequence[Standing]) -> str:
    """Aligned columns, the last rung first, the best first."""
    return aligned(_HEAD, list(map(_row, standings)))


def write_page(standings: Sequence[Standing], config: SearchConfig) -> Path:
    """Writes ``search.html``, which needs no network, and returns its path."""
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _row(each)) + "</tr>" for each in standings
    )
    head = "".join(f"<th>{each}</th>" for each in _HEAD)
    budget = f"{config.images:,} images" if config.images is not None else f"{config.minutes:g} minutes"
    told = html.escape(
        f"Mean gain in AUROC of a linear probe over random starts, on {len(config.label)} task(s) "
        f"({', '.join(config.label)}), by {config.folds}-fold cross-validation of training patients; "
        f"{len(config.seeds)} seed(s) a candidate, up to {budget} a run, schedule {config.schedule}. The test split "
        "was not read for this. The best of many is flattered: its gain here is too high by what chance gave it."
    )
    page = (
        '<!doctype html><meta charset=utf-8><meta name=viewport content="width=device-width"><title>Search</title>'
        f"<style>{_STYLE}</style><h1>Search</h1><p>{told}</p>"
        f"<div style=overflow-x:auto><table><tr>{head}</tr>\n{rows}</table></div>\n"
    )
    path = config.folder / "search.html"
    atomic_write(path, page)
    return path


def _row(each: Standing) -> tuple[str, ...]:
    gain = (each.problem, "") if each.gain is None else (f"{each.gain.mean:+.4f}", f"{each.gain.error:.4f}")
    words = "yes" if each.goes_on else ""
    return (str(each.rung + 1), each.candidate, str(each.epochs), f"{each.seconds / 60:.1f}", *gain, words)
