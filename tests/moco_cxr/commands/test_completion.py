"""The shells' scripts complete commands, subcommands, recipes and options."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moco_cxr.command import COMMANDS
from moco_cxr.commands import completion
from shards.base.errors import InputError
from train.settings.recipes import RECIPES


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> str:
    monkeypatch.setattr(sys, "argv", ["moco-cxr", request.param])
    completion.main()
    return capsys.readouterr().out


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes(script: str, tmp_path: Path) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(script)
    asked = {
        "sh": {"shards"},
        "shards ver": {"verify"},
        "shards build --sou": {"--source"},
        "pretrain moco_v3": {"moco_v3_vit_small"},
        "pretrain debug --run.epo": {"--run.epochs"},
        "pretrain debug --encoder.w": {"--encoder.weights"},
        "pretrain debug --method.p": {
            "--method.projector-hidden",
            "--method.projector-norm",
            "--method.predictor-hidden",
        },
        "eval few": {"few-shot"},
    }
    lines = [f"source {path}", "F=$(complete -p moco-cxr | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"]
    for words in asked:
        last = len(words.split())
        lines.append(f'COMP_WORDS=(moco-cxr {words}); COMP_CWORD={last}; COMPREPLY=(); "$F"; echo "${{COMPREPLY[@]}}"')
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert dict(zip(asked, (set(line.split()) for line in done.stdout.splitlines()), strict=True)) == asked


@pytest.mark.parametrize("script", ["bash", "zsh", "fish"], indirect=True)
def test_every_shell_is_given_all_there_is(script: str, request: pytest.FixtureRequest) -> None:
    found = re.search(r"(?<=COMPLETION_SPEC = )\{.*\}$", script, re.MULTILINE)
    assert found is not None
    literal = found[0]
    if "fish" in request.node.callspec.id:
        literal = re.sub(r'\\([\\"$])', r"\1", literal)
    spec = ast.literal_eval(literal)
    assert spec["subcommands"].keys() == COMMANDS.keys()
    assert spec["subcommands"]["pretrain"]["subcommands"].keys() == RECIPES.keys()
    options = {
        flag: each
        for each in spec["subcommands"]["shards"]["subcommands"]["build"]["options"]
        for flag in each["flags"]
    }
    assert options["--dry-run"]["description"].startswith("Print the plan only")
    assert options["--no-dry-run"]["description"].startswith("Off: Print the plan only")
    assert "None" not in options["--name"]["description"]
    debug = spec["subcommands"]["pretrain"]["subcommands"]["debug"]
    assert ["--num-processes"] in [option["flags"] for option in debug["options"]]
    assert {"build", "verify", "stats"} <= spec["subcommands"]["shards"]["subcommands"].keys()


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])])
def test_the_shell_reads_it(shell: str, check: list[str], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    path = tmp_path / "script"
    path.write_text(completion._script(shell))
    subprocess.run([*check, str(path)], check=True)


def test_another_shell_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["moco-cxr", "tcsh"])
    with pytest.raises(InputError, match="shell: tcsh given; give one of bash, zsh, fish"):
        completion.main()
