"""Arguments are read before anything heavy is imported, so that help and mistakes answer at once."""

import json
import re
import subprocess
import sys

import pytest

from pipeline.views import PRESETS
from tests.conftest import ROOT
from train.settings.architectures import ENCODERS
from train.settings.methods import METHODS
from train.settings.recipes import RECIPES

HEAVY = (
    *("torch", "torchvision", "torchmetrics", "nvidia.dali", "deepspeed", "kornia", "transformers", "timm"),
    *("matplotlib", "sklearn", "scipy", "cv2", "pydicom", "joblib"),
)
READING = ("pyarrow", "fsspec", "PIL")  # what help has no need of either; a mistake may be found with an index open
MISTAKES = {
    "shards": [
        "nothing",
        "build --nothing 1",
        "build --source nowhere --input a --output b",
        "build --source nih --input a --output b --shard-images 0",
        "verify",
        "stats",
        "preview --rows many",
        "subset a --output b --fraction half",
        "merge",
        "preview a --output b --output c",
        "phantom --output a --size 5",
    ],
    "pipeline": [
        "nothing",
        "preview --nothing 1",
        "preview",
        "preview --data a --views nothing",
        "preview --data a --views.size 4",
        "preview --data a --seed -1",
        "preview --data a --data b",
    ],
    "train": [
        "nothing",
        "export --nothing 1",
        "export --run a --format onnx --output b",
        "export --run a --run b",
        "export --run a --output b",
        "export --run a --format timm --push-to-hub b/c",
    ],
    "train.pretrain": [
        "",
        "nothing",
        "debug --nothing 1",
        "debug --run.epochs many",
        "debug --data a --run.epochs -1",
        "debug --data a --data b",
    ],
    "eval": [
        "nothing",
        "linear --nothing 1",
        "linear --run a --data b --label c --fraction 2",
        "linear --run a --data b --label c --label d",
        "knn --run a --data b --label c --neighbours 0",
        "few-shot --run a --data b --label c --shots 0",
        "finetune --run a --data b --label c --finetune.lr -1",
        "multimodal --run a --data b --label c --inputs",
        "multimodal --run a --data b --label c --multimodal.dropout 2",
        "grid absent.yaml",
        "table",
        "table absent",
        "report a --device tpu",
        "draws export --data a --label b --output c --source d",
        "draws import --data a --label b --output c",
        "export --nothing 1",
        "export --model a --format onnx",
        "export --model a --output b",
        "export --model a --format pt2 --output b --push-to-hub b/c",
    ],
    "benchmarks": [
        "nothing",
        "hotpath --nothing 1",
        "hotpath --queue 10",
        "step --batch 0",
        "step --batch 8 --batch 9",
        "step --profile trace.txt",
        "loader --views nothing",
        "packing --png few",
        "peers --encoder nothing",
        "peers --queue",
        "scaling --nodes 0",
        "multimodal --device tpu",
        "all --device tpu",
        "compare a b --allow -1",
        "report --results absent",
    ],
}
# Asks each command of a package for its help, then makes every mistake, all in one process, and says what is imported.
PROBE = """
import contextlib, importlib, io, json, sys

from shards.base.errors import run_command

package, heavy, reading, *mistakes = map(json.loads, sys.argv[1:])
main = importlib.import_module(f"{package}" if "." in package else f"{package}.__main__").main

def call(words):
    sys.argv = [package, *words]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            run_command(main)
        except SystemExit as ended:
            return ended.code, said.getvalue()

if "." in package:
    from train.settings.recipes import RECIPES as commands
else:
    import tyro

    parse, commands = tyro.extras.subcommand_cli_from_dict, {}
    tyro.extras.subcommand_cli_from_dict = lambda found, **_: commands.update(found) or (lambda: None)
    main()
    tyro.extras.subcommand_cli_from_dict = parse
helps = {name: call([name, "--help"]) for name in commands} | {"": call(["--help"])}
imported = [name for name in reading if name in sys.modules]
answers = {words: call(words.split()) for words in mistakes}
print(json.dumps([helps, answers, imported + [name for name in heavy if name in sys.modules]]))
"""


# Values of options, words of timm, and a name of a split in somebody's list.
NAMES = {*RECIPES, *METHODS, *PRESETS, *ENCODERS, "norms_and_biases", "average_precision"}
NAMES |= {"num_classes", "in_chans", "test_set"}


def wrong_in(help: str) -> list[str]:
    """Names that only our code or Python knows, and switches whose negation nobody explains."""
    sections = re.findall(r"^ ([\w.-]+) options\s*$", help, re.MULTILINE)
    inner = set(re.findall(r"(?<![\w:/])[a-z][a-z.]*_[a-z0-9_]+\b", help)) - NAMES
    found = [f"{name} options" for name in sections if f"--{name}." not in help]
    found += sorted(inner)
    found += re.findall(r"\b(?:None|True|False)\b", help)
    return found + ["--no-NAME"] * (bool(re.search(r"(--|\.)no-[a-z]", help)) != ("--no-NAME switches off" in help))


@pytest.mark.parametrize("package", MISTAKES)
def test_help_and_mistakes_import_nothing_heavy(package: str) -> None:
    command = [sys.executable, "-c", PROBE, *map(json.dumps, [package, HEAVY, READING, *MISTAKES[package]])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    helps, answers, imported = json.loads(done.stdout)
    assert {name: status for name, (status, said) in helps.items() if status or "usage:" not in said} == {}
    assert len(helps) > 1, "no commands were found"
    assert {name: found for name, (_, said) in helps.items() if (found := wrong_in(said))} == {}
    assert {words: said for words, (status, said) in answers.items() if status != 2 or "Traceback" in said} == {}
    assert imported == []
