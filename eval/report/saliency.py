"""Where an encoder looks when a linear readout decides: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, section 3).

The encoder is the frozen one that was measured. The readout's weights are not kept with its scores, and need not be:
they are linear in the features, so least squares finds them again, and :func:`recover_weights` refuses where it does
not.

Legend: B images, H W pixels, h w cells of the last map, C channels, N images, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shards.base.errors import InputError
from shards.base.randomness import generator
from train.encoders.places import Stage, as_map, stages

Floats = npt.NDArray[np.floating]
Positions = npt.NDArray[np.int64]
_MIN_EXPLAINED = 0.99
OUTCOMES = ("found", "missed", "false alarm", "rightly let pass")


@dataclass(frozen=True)
class Cases:
    """Images by what the readout made of them: positions for each of ``OUTCOMES``, and the threshold they are from."""

    positions: dict[str, Positions]
    threshold: float


def recover_weights(features: Floats, scores: Floats) -> Floats:
    """The weights (F,) on features (N, F) of the linear readout that gave the scores (N,), up to its intercept.

    With fewer images than features they are the shortest that give the scores, which is their part that these images
    can show.

    Raises:
        InputError: the scores are not linear in the features, or are all equal.
    """
    centred = (features - features.mean(axis=0)).astype(np.float64)
    deviation = centred.std(axis=0)
    scale = np.where(deviation > 1e-6 * max(float(deviation.max()), np.finfo(float).tiny), deviation, np.inf)
    target = (scores - scores.mean()).astype(np.float64)
    total = float(target @ target)
    if total == 0.0:
        raise InputError("the readout gives all images the same score")
    standardised = centred / scale
    weights = np.linalg.lstsq(standardised, target, rcond=1e-6)[0]
    explained = 1 - float(((target - standardised @ weights) ** 2).sum()) / total
    if explained < _MIN_EXPLAINED:
        raise InputError(f"the scores are not linear in the features of this encoder (R² {explained:.2f})")
    return weights / scale


def grad_cam(encoder: nn.Module, name: str, views: Tensor, weights: Floats) -> npt.NDArray[np.float32]:
    """Maps (B, h, w) of what each place of a view (B, 1, H, W) adds to the score; negative where it speaks against.

    Taken at the last stage with more than one place whose places the features still depend on: at 32 px a ResNet ends
    in a map of one, and a vision transformer that ends in its class token leaves the patches of its last block unread.
    The paper keeps the positive part only; the negative one is its counterfactual explanation. Where features are
    averages of that map, as in ResNets and DenseNets, a map adds up to the score less the readout's intercept.

    Args:
        name: of the encoder, for errors.
        weights: (F,) of the readout on the features.

    Raises:
        InputError: no stage of the encoder is known to have places.
    """
    kept: dict[str, tuple[Stage, Tensor]] = {}

    def keep(stage: Stage) -> Callable[..., object]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> object:
            if as_map(output, stage.num_channels) is None:
                return output
            assert isinstance(output, Tensor)
            kept[stage.module] = stage, output
            return output.clone()  # what follows may change it in place

        return hook

    hooks = [encoder.get_submodule(stage.module).register_forward_hook(keep(stage)) for stage in stages(encoder)]
    try:
        with torch.enable_grad():
            features = encoder.eval()(views.clone().requires_grad_())
            direction = torch.as_tensor(weights, dtype=features.dtype, device=features.device)
            outputs = [output for _, output in kept.values()]
            gradients = torch.autograd.grad((features @ direction).sum(), outputs, allow_unused=True) if kept else ()
    finally:
        for hook in hooks:
            hook.remove()
    if not kept:
        raise InputError(f"encoder {name}: the module with its last map is not known, for its feature_info names none")
    found: list[tuple[Stage, Tensor, Tensor]] = []
    for (stage, output), gradient in zip(kept.values(), gradients, strict=True):
        map, slope = (as_map(each, stage.num_channels) for each in (output.detach(), gradient))
        assert map is not None
        found.append((stage, map, torch.zeros_like(map) if slope is None else slope))
    read = [each for each in found if each[2].any()]
    stage, map, slope = ([each for each in read if each[1][0, 0].numel() > 1] or read or found)[-1]
    return _weighted(map, slope, is_rectified_behind=stage.is_rectified_behind).cpu().numpy().astype(np.float32)


def _weighted(map: Tensor, gradient: Tensor, *, is_rectified_behind: bool) -> Tensor:
    """(B, h, w): the channels of a map (B, C, h, w), each by the mean of its gradient."""
    if is_rectified_behind:  # the gradient is that of the features where the map is positive, else 0
        positive = map > 0
        importance = gradient.sum(dim=(2, 3), keepdim=True) / positive.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        return (importance * map.relu()).sum(dim=1)
    return (gradient.mean(dim=(2, 3), keepdim=True) * map).sum(dim=1)


def completed(maps: npt.NDArray[np.float32], totals: Floats) -> npt.NDArray[np.float32]:
    """Maps (B, h, w) that add up to ``totals`` (B,): what they lack, such as the intercept, is spread evenly.

    With the score less the threshold as total, warm and cold places are those that pull an image over or under it.
    """
    lacking = (totals - maps.sum(axis=(1, 2))) / (maps.shape[1] * maps.shape[2])
    return (maps + lacking[:, None, None]).astype(np.float32)


def enlarged(maps: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Maps (B, h, w) at the size of the views (B, H, W), each divided by its own largest magnitude: from -1 to 1."""
    smooth = F.interpolate(torch.from_numpy(maps)[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    peak = smooth.abs().amax(dim=(1, 2), keepdim=True)
    return (smooth / torch.where(peak > 0, peak, 1.0)).numpy()


def choose_cases(labels: Floats, scores: Floats, *, specificity: float, num_each: int, seed: int) -> Cases:
    """Random images of each outcome at the threshold that lets ``specificity`` of the negatives pass.

    Random, and not the most striking: those would show the readout at its best and worst, not as it is.

    Args:
        labels: (N,) of 1, 0, or NaN where unknown.
        scores: (N,).
    """
    threshold = float(np.quantile(scores[labels == 0], specificity, method="higher"))
    is_called = scores > threshold
    groups = (
        is_called & (labels == 1),
        ~is_called & (labels == 1),
        is_called & (labels == 0),
        ~is_called & (labels == 0),
    )
    order = generator("saliency", seed).permutation(len(labels))
    chosen = {
        outcome: order[group[order]][:num_each].astype(np.int64)
        for outcome, group in zip(OUTCOMES, groups, strict=True)
    }
    return Cases(chosen, threshold)
