"""The table of a search, for terminals and as a page."""

import html
from collections.abc import Sequence
from pathlib import Path

from eval import report
from eval.report.terminal import aligned
from eval.search.config import SearchConfig
from eval.search.state import Standing
from shards.base.atomic import atomic_write

_HEAD = ("rung", "candidate", "epochs", "minutes", "gain", "standard error", "goes on")
_STYLE = Path(report.__file__).with_name("page.css")
_WIDTH, _HEIGHT = 160, 16  # of the picture of a gain, in pixels


def standings_text(standings: Sequence[Standing]) -> str:
    """Aligned columns, the last rung first, the best first."""
    return aligned(_HEAD, list(map(_row, standings)))


def write_page(standings: Sequence[Standing], config: SearchConfig) -> Path:
    """Writes ``search.html``, which needs no network, and returns its path."""
    labels = config.label if len(config.label) > 1 else ()
    head = ("gain", "± standard error", "candidate", *labels, "rung", "epochs", "minutes", "goes on")
    reach = max((abs(each.gain.mean) + 2 * each.gain.error for each in standings if each.gain), default=1.0)
    rows = "\n".join(f"<tr>{_page_row(each, len(labels), reach)}</tr>" for each in standings)
    budget = f"{config.images:,} images" if config.images is not None else f"{config.minutes:g} minutes"
    told = html.escape(
        f"Mean gain in AUROC of a linear probe over random starts, on {len(config.label)} task(s) "
        f"({', '.join(config.label)}), by {config.folds}-fold cross-validation of training patients; "
        f"{len(config.seeds)} seed(s) a candidate, up to {budget} a run, schedule {config.schedule}. The test split "
        "was not read for this. The best of many is flattered: its gain here is too high by what chance gave it."
    )
    legend = "Bars are two standard errors to each side; the line is a random start."
    page = (
        '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>Search</title><style>{_STYLE.read_text()}</style>"
        f"<header><h1>Search for pretraining settings</h1></header><main><section><p>{told}</p>"
        f"<p class=about>{legend}</p><div class=scroll><table>"
        f"<tr>{''.join(f'<th>{html.escape(each)}</th>' for each in head)}</tr>\n{rows}</table></div></section></main>\n"
    )
    path = config.folder / "search.html"
    atomic_write(path, page)
    return path


def _row(each: Standing) -> tuple[str, ...]:
    gain = (each.problem, "") if each.gain is None else (f"{each.gain.mean:+.4f}", f"{each.gain.error:.4f}")
    words = "yes" if each.goes_on else ""
    return (str(each.rung + 1), each.candidate, str(each.epochs), f"{each.seconds / 60:.1f}", *gain, words)


def _page_row(each: Standing, num_labels: int, reach: float) -> str:
    rung, candidate, epochs, minutes, mean, error, words = _row(each)
    of_labels = (
        [""] * num_labels if each.gain is None else [f"{gain:+.4f}" for gain in each.gain.of_labels[:num_labels]]
    )
    cells = [html.escape(cell) for cell in (candidate, *of_labels, rung, epochs, minutes, words)]
    return "".join(f"<td>{cell}</td>" for cell in (html.escape(mean), _picture(each, reach) + error, *cells))


def _picture(each: Standing, reach: float) -> str:
    """The gain and two standard errors to each side of it, where 0 is in the middle and ``reach`` at the edge."""
    if each.gain is None:
        return ""
    middle, scale = _WIDTH / 2, (_WIDTH / 2 - 5) / reach
    at, error = middle + scale * each.gain.mean, 2 * scale * each.gain.error
    return (
        f'<svg width={_WIDTH} height={_HEIGHT} aria-hidden=true style="vertical-align:middle;margin-right:8px">'
        f'<path d="M{middle} 0V{_HEIGHT}" stroke="var(--faint)"/>'
        f'<path d="M{at - error:.1f} 8H{at + error:.1f}" stroke="var(--start-1)" stroke-width=2 />'
        f'<circle cx={at:.1f} cy=8 r=4 fill="var(--start-1)"/></svg>'
    )
