"""The report: one HTML page that needs no network, from a comparison's folder, its dataset and its encoders.

    python -m eval report runs/demo/eval/linear-chexpert      # writes report.html and figures/*.svg into that folder

The page holds the headline, the figures, all numbers in tables that sort, and a look at images. It follows
the reader's light or dark mode and can be read on a phone and printed. With 1,000 images of two encoders it takes about
a minute on one core, mostly for features and maps; ``with_images=False`` leaves them out, and it takes seconds.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from eval.readouts.registry import READOUTS
from eval.report.evidence import Evidence, Missing, or_reason
from eval.report.note import note
from eval.report.sections import FigureFolder, curves, differences, groups, inputs, maps, method, rocs, settings, texts
from eval.report.sortable import counts_table, label_names, results_table
from eval.report.strips import neighbour_strips, saliency_cases
from eval.results.file import load_comparison
from eval.results.headline import headline
from eval.results.table import Comparison
from eval.words import tested_text
from shards.base.atomic import atomic_write

FILE = "report.html"
FIGURES = "figures"
_HERE = Path(__file__).parent
_NO_IMAGES = Missing("Left out, as asked.")


def write_page(
    folder: Path, *, with_images: bool = True, max_images: int = 1000, device: str = "auto", seed: int = 0
) -> Path:
    """Writes ``report.html`` and the figures as SVG files into the folder of a comparison, and returns the page's path.

    Args:
        folder: of ``results.json``, or that file.
        with_images: whether the page shows X-rays and maps; without, it holds numbers only and can be passed on more
            freely.
        max_images: test images in the maps and searches, at most.
        seed: of the sample, the maps and the choice of images.

    Raises:
        InputError: no results, or damaged ones.
    """
    comparison = load_comparison(folder)
    folder = folder if folder.is_dir() else folder.parent
    spoken = headline(comparison)
    figures = FigureFolder(folder / FIGURES)
    evidence = Evidence(folder, comparison, spoken, max_images=max_images, device=device, seed=seed)
    shown = {
        "curves": curves(figures, comparison),
        "differences": differences(figures, comparison),
        "inputs": inputs(comparison),
        "texts": texts(comparison) if comparison.inputs else "",
        "roc": rocs(figures, evidence),
        "results": results_table(comparison),
        "groups": groups(evidence),
        "maps": or_reason(lambda: maps(figures, evidence)) if with_images else _NO_IMAGES,
        "neighbours": or_reason(lambda: neighbour_strips(evidence)) if with_images else _NO_IMAGES,
        "saliency": or_reason(lambda: saliency_cases(evidence)) if with_images else _NO_IMAGES,
        "counts": counts_table(comparison),
        "method": method(comparison),
    }
    figures.remove_old()
    page = templates().get_template("page.html.jinja")
    html = page.render(
        comparison=comparison,
        headline=spoken,
        settings=settings(evidence),
        facts=dict(_facts(comparison)),
        labels={name: name for name in label_names(comparison)},
        level=f"{100 * comparison.level:g} %",
        notes=note([comparison]).splitlines(),
        with_images=with_images,
        style=(_HERE / "page.css").read_text(),
        script=(_HERE / "page.js").read_text(),
        **shown,
    )
    atomic_write(folder / FILE, _without_places(html, folder, comparison))
    return folder / FILE


def _without_places(html: str, folder: Path, comparison: Comparison) -> str:
    """The page without where things lie on this machine: of a folder its name is left."""
    told = [*shlex.split(comparison.command), *comparison.data, *_words_of(comparison.config), str(folder.absolute())]
    told += [source for start in comparison.starts.values() for source in start.sources]
    places = {path for text in told if (path := Path(text)).is_absolute()}
    places |= {parent for path in places for parent in path.parents if len(parent.parts) > 2}
    here = {path for path in (Path(os.path.expanduser("~")), Path.cwd()) if path.is_absolute()}  # not all have a home
    names = {str(escape(place)): str(escape(place.name)) for place in places | here}
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    bounded = f"(?<![A-Za-z0-9+/])({longest_first})(?![A-Za-z0-9+])"  # not by chance within a picture
    return re.sub(bounded, lambda found: names[found[1]], html)


def _words_of(value: object) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    return [word for one in value for word in _words_of(one)] if isinstance(value, list | tuple) else [str(value)]


def templates() -> Environment:
    """The page's templates. Whatever they are given is escaped, but where they say ``safe``."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["missing"] = lambda content: isinstance(content, Missing)
    return environment


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    counts = comparison.test.values()
    protocol = comparison.protocol
    yield "Dataset", comparison.dataset
    yield "Labels", ", ".join(comparison.labels) if len(comparison.labels) < 5 else f"{len(comparison.labels)} labels"
    studies = max((one.num_studies for one in counts), default=0)
    patients = max((one.num_patients for one in counts), default=0)
    yield "Tested on", f"{studies:,} studies of {patients:,} patients ({tested_text(protocol)})"
    yield "Readouts", ", ".join(READOUTS[one].heading for one in comparison.readouts)
    yield "Protocol", str(protocol["name"])
    yield "Resamples", f"{comparison.num_replicates:,}"
