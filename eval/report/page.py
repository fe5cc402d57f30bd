"""The report: one HTML page that needs no network, from a comparison's folder, its dataset and its encoders.

python -m eval report runs/demo/eval/linear-chexpert      # writes report.html and figures/*.svg into that folder

The page holds the answer in a sentence, the figures, all numbers in tables that sort, and a look at images. It follows
the reader's light or dark mode and can be read on a phone and printed. With 1,000 images of two encoders it takes about
a minute on one core, mostly for features and maps; ``with_images=False`` leaves them out, and it takes seconds.
"""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from eval.report.evidence import Evidence, neighbour_strips, or_reason, pick_device, saliency_cases
from eval.report.page_tables import label_names
from eval.report.sections import (
    FigureFolder,
    curves_section,
    differences_section,
    inputs_section,
    map_section,
    method_section,
    results_section,
    roc_section,
    subgroups_section,
)
from eval.results.headline import Answer, answer
from eval.results.table import Comparison, load_comparison
from eval.words import readout_words
from shards.base.atomic import atomic_write
from shards.base.errors import InputError

FILE = "report.html"
FIGURES = "figures"
_HERE = Path(__file__).parent
_NO_IMAGES = '<p class="missing">Left out, as asked.</p>'


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
    if max_images < 1:
        raise InputError(f"--max-images {max_images}: must be at least 1")
    comparison = load_comparison(folder)
    folder = folder if folder.is_dir() else folder.parent
    if not comparison.rows:
        raise InputError(f"result {folder}: holds no rows; repeat the evaluation")
    found = answer(comparison)
    page = FigureFolder(folder / FIGURES)
    evidence = Evidence(folder, comparison, found, max_images=max_images, device=pick_device(device), seed=seed)
    sections = [
        ("curves", "AUROC against labels", curves_section(page, comparison)),
        ("differences", f"Differences to {comparison.baseline}", differences_section(page, comparison)),
        *([("inputs", "What each input adds", inputs_section(comparison))] if comparison.inputs else []),
        ("roc", "ROC and calibration", roc_section(page, evidence)),
        ("table", "All results", results_section(comparison)),
        ("groups", "Subgroups", subgroups_section(evidence)),
        ("map", "The embedding in two dimensions", map_section(page, evidence) if with_images else _NO_IMAGES),
        (
            "neighbours",
            "Nearest neighbours",
            or_reason(lambda: neighbour_strips(evidence)) if with_images else _NO_IMAGES,
        ),
        ("saliency", "Where it looks", or_reason(lambda: saliency_cases(evidence)) if with_images else _NO_IMAGES),
        ("method", "How this was measured", method_section(comparison)),
    ]
    page.remove_old()
    atomic_write(folder / FILE, _html(comparison, found, sections, with_images=with_images))
    return folder / FILE


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    counts = comparison.test.values()
    protocol: Mapping[str, str] = comparison.protocol
    yield "Dataset", comparison.dataset
    yield "Labels", ", ".join(comparison.labels) if len(comparison.labels) < 5 else f"{len(comparison.labels)} labels"
    studies = max((one.num_studies for one in counts), default=0)
    patients = max((one.num_patients for one in counts), default=0)
    yield "Tested on", f"{studies:,} studies of {patients:,} patients ({protocol['test_split']})"
    yield "Readouts", ", ".join(readout_words(one) for one in comparison.readouts)
    yield "Protocol", str(protocol["name"])
    yield "Resamples", f"{comparison.num_replicates:,}"


def _html(comparison: Comparison, found: Answer, sections: list[tuple[str, str, str]], *, with_images: bool) -> str:
    title = f"{comparison.dataset}: does starting from {found.start} help?"
    others = "".join(f"<li>{escape(line)}</li>" for line in found.others)
    facts = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(comparison))
    links = "".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in sections)
    body = "\n".join(
        f'<section id="{name}"><h2>{escape(heading)}</h2>\n{content}\n</section>' for name, heading, content in sections
    )
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in label_names(comparison))
    choose = f'<div class="choose"><label for="label">Label</label><select id="label">{options}</select></div>'
    warning = (
        "This page holds images of the dataset: pass it on only as the dataset may be passed on."
        if with_images
        else "This page holds numbers only."
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{(_HERE / "page.css").read_text()}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="answer {found.kind}"><strong>{found.word}</strong> {escape(found.sentence)}</p>
<ul class="others"{"" if others else " hidden"}>{others}</ul>
<dl class="facts">{facts}</dl>
<nav>{links}</nav>
</header>
<main>
{choose if comparison.has_macro else ""}
{body}
</main>
<footer>{warning} Written by moco-cxr {escape(comparison.versions.get("moco-cxr", ""))}.</footer>
<script>
{(_HERE / "page.js").read_text()}</script>
</body>
</html>
"""
