"""``python -m eval``: how good are the features, and is the difference sure?

python -m eval linear --run runs/demo --data data/chexpert --label "Pleural Effusion" --fraction 0.01 0.1 1
python -m eval table runs/demo/eval/*.json
"""

import re
from pathlib import Path
from typing import Literal

import tyro

from eval.config import LinearConfig
from eval.report import markdown_tables, text_tables
from eval.results import ProbeResult, load_result, save_result
from shards.errors import InputError, run_command


def main() -> None:
    """Measures a pretrained encoder against random starts."""
    tyro.extras.subcommand_cli_from_dict({"linear": linear, "table": table}, prog="python -m eval")


def linear(config: tyro.conf.OmitArgPrefixes[LinearConfig]) -> None:
    """Probe frozen features with logistic regression at label fractions, against random starts."""
    from eval.linear import run_linear  # torch and torchvision take seconds to import, `table` and --help need neither

    results = run_linear(config)
    paths = [config.output or default_output(config.run, result) for result in results]
    for result, path in zip(results, paths, strict=True):
        save_result(result, path)
    print(text_tables(results))
    for path in paths:
        print(f"written: {path}")


def table(files: tyro.conf.Positional[tuple[Path, ...]], format: Literal["text", "markdown"] = "text") -> None:
    """Print the tables of result files.

    Args:
        files: Results, as `python -m eval linear` wrote them.
        format: Aligned text for terminals, or Markdown.
    """
    if not files:
        raise InputError("table: no file given; give results that `python -m eval linear` wrote")
    results = [load_result(path) for path in files]
    print(text_tables(results) if format == "text" else markdown_tables(results))


def default_output(run: Path, result: ProbeResult) -> Path:
    """``RUN/eval/READOUT-DATASET-LABEL.json``, in lower case and without signs that a shell would mind."""
    folder = run if run.is_dir() else run.parent
    slug = re.sub(r"[^a-z0-9]+", "-", f"{result.dataset}-{result.label}".lower()).strip("-")
    return folder / "eval" / f"{result.readout}-{slug}.json"


if __name__ == "__main__":
    run_command(main)
