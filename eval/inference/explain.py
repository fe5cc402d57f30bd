"""Pictures of where a classifier looks, for the images with the highest probabilities, by Grad-CAM.

Each is a PNG of two halves: the view, and the view under the map of :mod:`eval.report.saliency`, orange where a place
speaks for the label, blue where against it.
"""

import heapq
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eval.classifier.kept import Kept
from eval.inference.forward import Floats
from eval.inference.images import Given
from eval.report.pictures import Pixels, gray, overlay
from eval.report.saliency import completed, enlarged, grad_cam
from pipeline.encoded import encoded_views
from shards.base.atomic import atomic_write
from shards.base.errors import InputError, writing
from shards.sources.record import make_key


class Explanations:
    """Collects the images that are to be explained, and draws them.

    Args:
        folder: of the pictures, which must not be there.
        label: that is explained; None: the one with the highest probability of each image.
        centres: logits (L,) that maps are for or against.

    Raises:
        InputError: the classifier has no map or no such label, or the folder is there.
    """

    def __init__(self, kept: Kept, folder: Path, *, num_images: int, label: str | None, centres: list[float]) -> None:
        if kept.encoder is None or kept.read_texts is not None:
            raise InputError(f"--explain: {kept.folder} reads texts too; pictures are of classifiers of images alone")
        if kept.encoder.layers:
            raise InputError(f"--explain: {kept.folder} reads chosen layers, and maps are of what an encoder ends in")
        if label is not None and label not in kept.labels:
            raise InputError(f"--explain-label {label}: the model has none such; give one of {', '.join(kept.labels)}")
        if folder.exists():
            raise InputError(f"--explain: {folder} is there already; remove it, or name another --output")
        self._kept, self._folder, self._num_images, self._centres = kept, folder, num_images, centres
        self._label = None if label is None else kept.labels.index(label)
        self._found: list[tuple[float, int, Given, int, float]] = []
        self._turns = itertools.count()  # so that equals are not compared further, and the first stay

    def note(self, images: list[Given], logits: Floats, probabilities: Floats) -> None:
        """Looks at images (B,) with logits and probabilities (B, L)."""
        for image, own, values in zip(images, logits, probabilities, strict=True):
            label = int(np.argmax(values)) if self._label is None else self._label
            entry = (float(values[label]), -next(self._turns), image, label, float(own[label]))
            if len(self._found) < self._num_images:
                heapq.heappush(self._found, entry)
            else:
                heapq.heappushpop(self._found, entry)

    def told(self) -> str:
        """Where the pictures are, and of what."""
        return f"{self._folder}, of the {len(self._found)} images with the highest probabilities"

    def write(self) -> None:
        """Draws what was collected."""
        if not self._found:
            return
        network: Any = self._kept.network.cpu()
        with writing(self._folder):
            self._folder.mkdir(parents=True)
            for place, (probability, _, image, label, logit) in enumerate(sorted(self._found, reverse=True), start=1):
                assert isinstance(image.stored, bytes)
                name = f"{place:02d}-{make_key(self._kept.labels[label])}-{probability:.3f}-{image.key}.png"
                atomic_write(self._folder / name, self._picture(network, image.stored, label, logit))

    def _picture(self, network: Any, stored: bytes, label: int, logit: float) -> bytes:
        kept = self._kept
        views = encoded_views([stored], kept.views)
        weights = network.head.weight[label].numpy()
        assert kept.encoder is not None
        maps = grad_cam(network.encoder, kept.encoder.name, views, weights)
        maps = completed(maps, np.array([logit - self._centres[label]]))
        heats = enlarged(maps, (kept.views.size, kept.views.size))
        (pixels,) = gray(views, kept.views)
        halves: Pixels = np.concatenate([np.repeat(pixels[..., None], 3, axis=2), overlay(pixels, heats[0])], axis=1)
        file = io.BytesIO()
        Image.fromarray(halves).save(file, "PNG")
        return file.getvalue()
