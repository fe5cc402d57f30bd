"""Whole pretraining runs, each engine's: images a second and data wait, read off their metrics."""

import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts import ENGINES
from train.run.metrics_file import read_metrics

_ROOT = Path(__file__).parents[2]


def run(job: Job) -> None:
    """One engine's failure is told, and the next one has its turn."""
    failed = []
    for engine in ENGINES:
        output = job.work / f"run-{engine}"
        shutil.rmtree(output, ignore_errors=True)
        done = subprocess.run([sys.executable, *_words(job, engine), "--output", str(output)], check=False, cwd=_ROOT)
        lines = [line for line in read_metrics(output / "metrics.jsonl") if "throughput(img/s)" in line]
        if done.returncode or not lines:
            failed.append(engine)
            job.say(f"{engine}: failed with exit code {done.returncode}", **{engine: None})
            continue
        later = lines[len(lines) // 2 :]  # behind the first epochs, which decode and choose kernels
        rate, wait = (statistics.median(line[name] for line in later) for name in ("throughput(img/s)", "data_wait(%)"))
        memory = max((line.get("peak_memory(GiB)") or 0.0 for line in lines), default=0.0)
        job.say(
            f"{engine}: {rate:,.0f} images/s, data wait {wait:.1f} %, {memory:.1f} GiB at most (medians over the "
            f"second half of {lines[-1]['step']} steps of {job.sizes.batch} images, {job.sizes.height} px)",
            **{engine: {"images_per_second": rate, "data_wait_percent": wait, "gibibytes": memory}},
        )
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _words(job: Job, engine: str) -> list[str]:
    sizes = job.sizes
    words = [
        _ROOT / "train" / "pretrain.py",
        "moco_cxr_resnet18_random",
        "--data",
        job.data,
        "--selection.split",
        "all",
    ]
    words += ["--schedule.name", "cosine"]  # the recipe's own falls after 12 epochs
    words += ["--views.size", sizes.height, "--run.batch-size", sizes.batch, "--loader.engine", engine]
    words += ["--method.queue-size", min(sizes.queue, sizes.images // 2), "--run.epochs", sizes.epochs]
    return [str(word) for word in [*words, "--run.log-every", 8 if job.device != "cpu" else 2]]
