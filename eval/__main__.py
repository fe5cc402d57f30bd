"""``python -m eval``: does pretraining help, by how much, and is that sure?

python -m eval linear --run runs/first --data data/chexpert --label "Pleural Effusion" --fraction 0.001 0.01 0.1 1
python -m eval finetune --run runs/first --data data/shenzhen --label Tuberculosis --against random imagenet
python -m eval multimodal --run runs/first --data data/mimic --label all --fraction 0.1 1
python -m eval grid comparison.yaml --jobs 4
python -m eval search candidates.yaml
python -m eval table runs/first/eval/*/results.json
python -m eval report runs/first/eval/linear-chexpert-pleural-effusion
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt of the imports below has no more to say

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import OmitArgPrefixes

from eval.finetune.config import FinetuneConfig
from eval.grid.config import (
    SHOTS,
    Compared,
    DrawsConfig,
    FeaturesConfig,
    GridConfig,
    Jobs,
    KnnConfig,
    LinearConfig,
    Settings,
)
from eval.grid.file import open_grid
from eval.multimodal.config import MultimodalConfig
from eval.readouts.registry import READOUTS, Inputs
from eval.words import Format, Metric
from shards.base.bounds import PositiveCount, Share, SmallSeed
from shards.base.commands import run_subcommand
from shards.base.config_file import of_file
from shards.base.errors import InputError, continuing, needing, run_command
from shards.base.words import as_called

_Fractions = Annotated[
    tuple[Share, ...] | None,
    tyro.conf.arg(
        metavar="SHARE [SHARE ...]",
        help="Shares of the training patients whose labels are used; default: 0.01 0.1 1.",
    ),
]


def main() -> None:
    """Measures encoders against others, with honest statistics."""
    commands: dict[str, Callable[..., None]] = {
        "linear": linear,
        "knn": knn,
        "few-shot": few_shot,
        "finetune": finetune,
        "multimodal": multimodal,
        "grid": grid,
        "search": search,
        "table": table,
        "report": report,
        "draws": draws,
        "export": export,
    }
    run_subcommand(commands, package="eval")


# The arguments are read before anything heavy is imported, so the commands import what they run.


def linear(
    compared: OmitArgPrefixes[Compared],
    settings: OmitArgPrefixes[Settings],
    features: FeaturesConfig,
    linear: LinearConfig,
    fraction: _Fractions = None,
) -> None:
    """Probe frozen features with logistic regression at label fractions.

    Args:
        features: Of the encoder.
        linear: Of this readout.
    """
    _measure(compared.grid("linear", settings, fraction=fraction, layers=features.layers, linear=linear))


def knn(
    compared: OmitArgPrefixes[Compared],
    settings: OmitArgPrefixes[Settings],
    neighbours: OmitArgPrefixes[KnnConfig],
    features: FeaturesConfig,
    fraction: _Fractions = None,
) -> None:
    """Score images by their nearest labelled neighbours in the features.

    Args:
        features: Of the encoder.
    """
    _measure(compared.grid("knn", settings, fraction=fraction, knn=neighbours, layers=features.layers))


def few_shot(
    compared: OmitArgPrefixes[Compared],
    settings: OmitArgPrefixes[Settings],
    features: FeaturesConfig,
    linear: LinearConfig,
    shots: Annotated[tuple[PositiveCount, ...], tyro.conf.arg(metavar="IMAGES [IMAGES ...]")] = SHOTS,
) -> None:
    """Probe frozen features with a few labelled images of each class.

    Args:
        features: Of the encoder.
        linear: Of the probes.
        shots: Images of each class whose labels are used.
    """
    _measure(compared.grid("few-shot", settings, shots=shots, layers=features.layers, linear=linear))


def finetune(
    compared: OmitArgPrefixes[Compared],
    settings: OmitArgPrefixes[Settings],
    finetune: FinetuneConfig,
    fraction: _Fractions = None,
) -> None:
    """Fine-tune encoders end to end at label fractions.

    Args:
        finetune: Of this readout.
    """
    _measure(compared.grid("finetune", settings, fraction=fraction, finetune=finetune))


def multimodal(
    compared: OmitArgPrefixes[Compared],
    settings: OmitArgPrefixes[Settings],
    multimodal: MultimodalConfig,
    inputs: Annotated[tuple[Inputs, ...], tyro.conf.arg(metavar="INPUTS [INPUTS ...]")] = ("both", "image", "text"),
    fraction: _Fractions = None,
) -> None:
    """Train a transformer that reads the image and the report's indication, at label fractions.

    Args:
        multimodal: Of this readout.
        inputs: What the classifier is given; of several, both are also compared with each alone.
    """
    readout = tuple(name for name, each in READOUTS.items() if each.inputs in inputs)
    if not readout:
        raise InputError("--inputs: no value given; give at least one of both, image, text")
    _measure(compared.grid(readout, settings, fraction=fraction, multimodal=multimodal))


def grid(file: tyro.conf.Positional[Path], output: Path | None = None, jobs: Jobs | None = None) -> None:
    """Compare starts x readouts x fractions from a YAML file; the same command goes on where it was interrupted.

    Several machines that share the output folder can run it at once: each takes cells that nobody has.

    Args:
        file: Fields are those of the other commands' options, with starts, readout and baseline beside them.
        output: Folder of the results; default: the file's, or its path without the suffix.
        jobs: Processes on this machine; default: the file's, or 1.
    """
    config = open_grid(file, output=output, jobs=jobs)
    with of_file(file, "grid"):
        _measure(config)


def search(file: tyro.conf.Positional[Path], output: Path | None = None, open_test: bool = False) -> None:
    """Find pretraining settings that pay: recipes x settings x seeds from a YAML file, halved again and again.

    Probes are cross-validated on training patients; the test split is not read. The same command goes on after a stop.

    Args:
        file: Fields are data, label, recipes, settings, seeds, images or minutes, and more: docs/evaluation.md.
        output: Folder of the search; default: the file's, or its path without the suffix.
        open_test: At the end, compare the chosen candidate on the test split. Once: another one is refused then.
    """
    from eval.search.config import read_search

    config = read_search(file, output=output)
    from eval.search.run import run_search

    with of_file(file, "search"):
        has_ended = run_search(config, opens_test=open_test)
    if not has_ended:
        print(f"stopped; the same command goes on: {as_called(f'eval search {file}')}")


def table(
    files: tyro.conf.Positional[tuple[Path, ...]],
    format: Format = "text",
    metric: Metric = "auroc",
    subgroups: bool = False,
    narrow: bool = False,
) -> None:
    """Print the tables of results.

    Args:
        files: Folders of results, their results.json, or runs, of which all results in RUN/eval are taken.
        format: Aligned text for terminals, Markdown, LaTeX, or CSV with every number.
        metric: What the tables show.
        subgroups: Also those by sex, age and projection; CSV has none.
        narrow: LaTeX that fits a column of two: no counts and p-values, a star where a difference is sure.
    """
    if not files:
        raise InputError(f"table: no file given; give results that `{as_called('eval')}` wrote")
    from eval.results.file import find_results, load_comparison

    comparisons = [load_comparison(path) for place in files for path in find_results(place)]
    from eval.report.tables import render  # scipy, which no mistake should wait for

    print(render(comparisons, format, metric=metric, subgroups=subgroups, narrow=narrow))


def report(
    folder: tyro.conf.Positional[Path],
    images: bool = True,
    max_images: PositiveCount = 1000,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seed: SmallSeed = 0,
) -> None:
    """Write report.html, one page that needs no network, and its figures as SVG.

    Args:
        folder: Of the results, their results.json, or a run with one folder of results in RUN/eval.
        images: Whether the page shows X-rays and a map of their features.
        max_images: Test images in the map and the searches, at most.
        device: Where features are computed.
        seed: Of the sample, the map and the choice of images.
    """
    from eval.results.file import find_results, load_comparison

    folder, *others = find_results(folder)
    if others:
        names = ", ".join(str(path.parent) for path in (folder, *others))
        raise InputError(f"report: {len(others) + 1} results there; give one of {names}")
    load_comparison(folder)  # a mistake is told before what takes seconds to import
    with needing("report", "report"):
        from eval.report.page import write_page

    print(f"written: {write_page(folder, with_images=images, max_images=max_images, device=device, seed=seed)}")


def draws(action: tyro.conf.Positional[Literal["export", "import"]], config: OmitArgPrefixes[DrawsConfig]) -> None:
    """Write the label draws of a dataset as Parquet, or turn lists of other software into such a file.

    Args:
        action: export: draw by the protocol; import: read the lists of --source.
        config: What to draw from.
    """
    from eval.grid.draw_lists import run_draws

    run_draws(action, config)


def export(
    model: Path,
    format: Literal["onnx", "pt2", "hub"] | None = None,
    output: Path | None = None,
    push_to_hub: str = "",
    public: bool = False,
    license: str = "other",
) -> None:
    """Write a kept classifier for other software, with its labels, input and calibration, and print how it is loaded.

    onnx, pt2 (torch.export): a graph from views to logits and calibrated probabilities, for any batch size. hub: a
    folder for the Hugging Face hub, whose logits timm gives as well.

    Args:
        model: What was kept by --finetune.keep-model or --linear.keep-model: its folder, or one with a single such.
        format: Software that is to read it.
        output: File to write, of hub a folder. May be left out with --push-to-hub.
        push_to_hub: USER/NAME of the Hugging Face hub to upload the folder to; needs `hf auth login` or HF_TOKEN.
        public: A repository that is made for --push-to-hub is for everyone.
        license: What the model card says of it, in the hub's words.
    """
    from train.export.asked import check_asked

    check_asked(format, output, push_to_hub, formats=("onnx", "pt2", "hub"))
    from eval.inference.export import export_classifier

    print(export_classifier(model, output, format=format, push=push_to_hub, public=public, license=license))


def _measure(config: GridConfig) -> None:
    with continuing():
        from eval.grid.run import run_grid
        from eval.report.tables import text_tables

        comparison = run_grid(config)
    print(text_tables([comparison]))
    print(f"written: {config.output}; as a page: {as_called(f'eval report {config.output}')}")


if __name__ == "__main__":
    run_command(main)
