"""``python -m train``: what becomes of an encoder behind pretraining, which itself is `train/pretrain.py`.

python -m train export --run runs/first --format timm --output resnet18.safetensors
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt of the imports below has no more to say

import tempfile
from pathlib import Path
from typing import Literal

from shards.base.commands import run_subcommand
from shards.base.errors import InputError, run_command, writing
from shards.base.words import as_size, nearest_path
from train.export.asked import check_asked


def main() -> None:
    """Takes encoders to other software."""
    run_subcommand({"export": export}, package="train")


def export(
    run: Path,
    format: Literal["torchvision", "timm", "onnx", "pt2", "hub"] | None = None,
    output: Path | None = None,
    which: Literal["query", "key"] = "query",
    push_to_hub: str = "",
    public: bool = False,
    license: str = "other",
) -> None:
    """Write the encoder of a run, or of a checkpoint, for other software, and print the code that loads it.

    torchvision: a state dict for three channels; a gray image on three equal channels gives the same features.
    timm: a state dict for in_chans=1, num_classes=0. onnx, pt2 (torch.export): a graph for any batch size, at the size
    of the run's views. hub: a folder as the Hugging Face hub and timm's hf-hub: and local-dir: want it.
    State dicts are safetensors where --output ends so, else PyTorch files. Each says which input it takes.

    A classifier that was kept: `moco-cxr eval export`. Exit codes: 0 written; 2 a mistake, such as a run that has not
    finished.

    Args:
        run: Run folder, one of its checkpoints/step-*, or a file such as its encoder.safetensors.
        format: Software that is to read it.
        output: File to write, of hub a folder; one that is there is replaced. May be left out with --push-to-hub.
        which: The encoder that was trained, or its momentum copy, which checkpoints have and `--run.export-key` leaves
            behind.
        push_to_hub: USER/NAME of the Hugging Face hub to upload the folder to; needs `hf auth login` or HF_TOKEN.
        public: A repository that is made for --push-to-hub is for everyone.
        license: What the model card says of it, in the hub's words, such as apache-2.0 or cc-by-nc-4.0.
    """
    check_asked(format, output, push_to_hub, formats=("torchvision", "timm", "onnx", "pt2", "hub"))
    if not run.exists():
        raise InputError(f"--run {run}: no such file or run folder; check the path.{nearest_path(run)}")
    from train.encoders.file import is_kept  # torch and torchvision take seconds to import, --help needs neither
    from train.encoders.saved import load_encoder

    if format is None or format == "hub":
        from train.export.encoder_hub import export_to_hub

        with tempfile.TemporaryDirectory() as scratch:
            to = output or Path(scratch) / "model"
            with writing(to):
                print(
                    export_to_hub(load_encoder(run, which), run, to, push=push_to_hub, public=public, license=license)
                )
        return
    from train.export.formats import export_encoder

    assert output is not None
    if is_kept(output):
        raise InputError(
            f"--output {output}: is the run's own encoder or checkpoint, which evaluation reads; name another file"
        )
    exported = export_encoder(load_encoder(run, which), output, format=format)
    print(f"written: {output} ({as_size(exported.size)}); load it with\n{exported.usage}")


if __name__ == "__main__":
    run_command(main)
