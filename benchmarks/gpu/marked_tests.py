"""The tests marked ``gpu``, counted, with what failed in words."""

import importlib.util
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.gpu.job import Job

_ROOT = Path(__file__).parents[2]
_FIRST = 300  # characters of a failure


def run(job: Job) -> None:
    """Exit code 1 where one fails."""
    if not (_ROOT / "tests").is_dir():
        raise SystemExit("the tests are not installed; run this in the project's own folder")
    report = job.work / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    if importlib.util.find_spec("pytest_timeout") is not None:
        command += ["--timeout", "100"]
    done = subprocess.run([*command, *map(str, marked_files(_ROOT / "tests"))], cwd=_ROOT, check=False)
    counts, failures = read_report(report)
    said = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    job.say(f"tests marked gpu: {said}", **counts)
    for failure in failures:
        job.say(failure)
    if done.returncode:
        raise SystemExit(done.returncode)


def marked_files(folder: Path) -> list[Path]:
    """Those that hold such tests, so that no other need be imported."""
    return sorted(path for path in folder.rglob("test_*.py") if _is_marked(path))


def _is_marked(path: Path) -> bool:
    texts = [path.read_text()]
    conftest = path.parent / "conftest.py"
    if conftest.exists():  # which may hold marked parameters
        texts.append(conftest.read_text())
    return any("mark.gpu" in text for text in texts)


def read_report(path: Path) -> tuple[dict[str, int], list[str]]:
    """Numbers of tests passed, failed and skipped; failures and reasons of skips in words."""
    counts, words = {"passed": 0, "failed": 0, "skipped": 0}, []
    reasons = set()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        failure = next((child for child in case if child.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        if failure is not None:
            counts["failed"] += 1
            words.append(f"{case.get('classname')}::{case.get('name')}: {(failure.get('message') or '')[:_FIRST]}")
        elif skipped is not None:
            counts["skipped"] += 1
            reasons.add(skipped.get("message") or "")
        else:
            counts["passed"] += 1
    return counts, [*words, *(f"skipped: {reason}" for reason in sorted(reasons))]
