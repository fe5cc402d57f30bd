"""``python -m train``: what becomes of an encoder behind pretraining, which itself is `train/pretrain.py`.

python -m train export --run runs/first --format timm --output resnet18.safetensors
"""

from pathlib import Path
from typing import Literal

from shards.base.commands import run_subcommand
from shards.base.errors import InputError, run_command
from shards.base.words import as_size


def main() -> None:
    """Takes encoders to other software."""
    run_subcommand({"export": export}, package="train")


def export(
    run: Path, format: Literal["torchvision", "timm", "onnx"], output: Path, which: Literal["query", "key"] = "query"
) -> None:
    """Write the encoder of a run, or of a checkpoint, for torchvision, timm or ONNX, and print the code that loads it.

    torchvision: a state dict for three channels; a gray image on three equal channels gives the same features.
    timm: a state dict for in_chans=1, num_classes=0. onnx: a graph for any batch size, at the size of the run's views.
    State dicts are safetensors where --output ends so, else PyTorch files.

    Exit codes: 0 written; 2 a mistake, such as a run that has not finished.

    Args:
        run: Run folder, one of its checkpoints/step-*, or a file such as its encoder.safetensors.
        format: Software that is to read it.
        output: File to write; one that is there is replaced.
        which: The encoder that was trained, or its momentum copy, which checkpoints have and `--run.export_key` leaves
            behind.
    """
    if not run.exists():
        raise InputError(f"--run {run}: no such file or run folder")
    from train.encoders.file import is_kept  # torch and torchvision take seconds to import, --help needs neither
    from train.encoders.formats import export_encoder
    from train.encoders.saved import load_encoder

    if is_kept(output):
        raise InputError(
            f"--output {output}: is the run's own encoder or checkpoint, which evaluation reads; name another file"
        )
    exported = export_encoder(load_encoder(run, which), output, format=format)
    print(f"written: {output} ({as_size(exported.size)}); load it with\n{exported.usage}")


if __name__ == "__main__":
    run_command(main)
