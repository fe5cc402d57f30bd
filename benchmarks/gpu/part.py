"""The program of a part that is no benchmark of its own.

python -m benchmarks.gpu.part PART DEVICE FOLDER DATA
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.job import Job


def main() -> None:
    """Runs the part that the arguments name."""
    part, device, folder, data = sys.argv[1:]
    job = Job(part=part, device=device, folder=Path(folder), data=Path(data))
    own: dict[str, Callable[[Job], None]] = {"machine": machine, "data": phantoms}
    module = "marked_tests" if part == "tests" else part
    (own[part] if part in own else import_module(f"benchmarks.gpu.{module}").run)(job)


def machine(job: Job) -> None:
    """What is here; the rest is in the result's own words on the machine."""
    import torch

    from pipeline.device import find_device

    device = find_device(job.device)
    words = f"torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.get_num_threads()} threads"
    if device.type == "cpu":
        job.say(f"no GPU: a trial on the CPU; {words}")
        return
    about = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    job.say(
        f"{about.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, compute capability {about.major}."
        f"{about.minor}, cuDNN {torch.backends.cudnn.version()}; {words}",
        name=about.name,
        gibibytes=total / 2**30,
        capability=f"{about.major}.{about.minor}",
    )
    query = "name,driver_version,clocks.sm,clocks.mem,power.limit,ecc.mode.current,utilization.gpu"
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        job.say(f"nvidia-smi, {query}: {said}")


def phantoms(job: Job) -> None:
    """The dataset of the parts behind this one."""
    from benchmarks.measuring.data import build_phantom_dataset

    path = build_phantom_dataset(job.work, num_images=job.sizes.images, size=job.sizes.height)
    assert path == job.data, path
    shutil.rmtree(job.work / "phantom")
    job.say(f"{job.sizes.images:,} phantom images or more, {job.sizes.height} px high")


if __name__ == "__main__":
    main()
