"""End-to-end fine-tuning of one cell of a comparison: an encoder, a label draw, the logits that come out.

In one process on one device, or in several that share each batch, under the deepspeed launcher. An interrupted cell
goes on from its folder's checkpoint, whatever the number of processes.
"""

from pathlib import Path

from eval.finetune_config import FinetuneConfig, check_finetune
from eval.finetune_images import finetune
from eval.finetune_launch import alone, launch, remove_empty
from eval.finetune_task import Finetuned, FinetuneTask, Work, fingerprint
from train.encoders.saved import LoadedEncoder


def run_finetune(
    start: LoadedEncoder,
    task: FinetuneTask,
    config: FinetuneConfig,
    folder: Path,
    *,
    device: str = "auto",
    title: str = "",
) -> Finetuned:
    """Fine-tunes a copy of ``start`` with a linear head for all labels of the task.

    Args:
        start: the encoder, its name and the views it was trained on.
        folder: of this cell alone: checkpoints while it runs and, by ``keep_model``, the model it ends with.
        device: ``cpu``, ``cuda``, ``cuda:1``; auto: a GPU if there is one. Several processes take the GPUs in turn.
        title: of the progress bar.

    Raises:
        InputError: settings out of range, a label with one class in the draw, an absent device, a loss that is not
            finite, or processes that failed, of which each has said why.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    check_finetune(config)
    task.check()
    if config.num_processes > 1:
        work = Work(task=task, start=start, config=config)
        return launch(work, folder, mark=fingerprint(task, start, config), field="finetune", device=device)
    result = finetune(start, task, config, folder, world=alone(device), title=title)
    remove_empty(folder)
    return result
