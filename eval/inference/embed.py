"""Features of any encoder for any images: ``moco-cxr embed``.

Legend: N images, F features.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eval.classifier.network import ImageClassifier
from eval.inference.config import EmbedConfig
from eval.inference.forward import Outcome, through
from eval.inference.images import GivenImages
from eval.inference.model import holds_classifier, load_classifier
from eval.inference.rows import KEYS, Tally, key_columns, spread, warn_of_other_specs
from eval.inference.tables import array_file, check_output, table_file, write_table
from eval.study.features import encoder_hash
from eval.study.layers import LayerFeatures
from eval.study.starts import build_starts, check_source
from pipeline.views import PRESETS, ViewSpec
from shards.base.dataclass_io import from_written, to_mapping
from shards.base.errors import InputError
from shards.images.store import ImageSpec
from train.encoders.file import is_ours
from train.encoders.saved import load_encoder
from train.encoders.starts.hub import download, is_on_hub

_TABLE, _ARRAY = ".parquet", ".npy"
_FEATURES, _ROW = "features", "row"


class Embeddings:
    """Rows to come, a batch at a time, as :class:`eval.inference.predict.Predictions`: the columns of
    :data:`eval.inference.rows.KEYS`, and ``features``, a list of F float32, null where an image could not be read.

    Raises:
        InputError: no such encoder or layer, no image, an architecture or size that nothing tells.
    """

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config
        self.images = GivenImages(config.input)
        opened = _of_classifier(config.model) if holds_classifier(Path(config.model)) else _of_start(config)
        self.network, self.views, self.image = opened.encoder, opened.views, opened.image
        if config.layers:
            self.network = LayerFeatures(opened.encoder, config.layers, name=opened.name)
        self.num_features = int(self.network.num_features)
        self.tally = Tally(self.images)
        self.about = {
            "encoder": opened.name,
            "origin": opened.origin,
            "hash": encoder_hash(opened.encoder),
            "layers": list(config.layers),
            "image": to_mapping(self.image),
            "views": to_mapping(self.views),
        }
        fields = [*((name, pa.string()) for name in KEYS), (_FEATURES, pa.list_(pa.float32(), self.num_features))]
        self.schema = pa.schema(fields, metadata={"moco_cxr": json.dumps(self.about)})

    def outcomes(self) -> Iterator[Outcome]:
        """Groups of images with their features.

        Raises:
            InputError: an absent device, or features that are not finite.
        """
        for outcome in through(
            self.network,
            self.images,
            image=self.image,
            views=self.views,
            device=self.config.device,
            batch_size=self.config.batch_size,
            workers=self.config.workers,
            title=_FEATURES,
        ):
            if outcome.images:
                self.tally.count(outcome.images)
                yield outcome

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows. Raises as :meth:`outcomes`."""
        for outcome in self.outcomes():
            columns = key_columns(outcome.images)
            columns[_FEATURES] = spread(list(outcome.values), outcome.rows, len(outcome.images))
            arrays = [pa.array(columns[field.name], field.type) for field in self.schema]
            yield pa.record_batch(arrays, schema=self.schema)


def run_embed(config: EmbedConfig, output: Path) -> list[str]:
    """Writes the features, and returns what is to be said of them.

    An array (n, F) of the images that were read goes with ``NAME.keys.csv``, which has each image's ``row`` in it.

    Raises:
        InputError: see :class:`Embeddings`; nothing could be read, of which the output tells why.
    """
    check_output(output, (_TABLE, _ARRAY), read=config.input)
    embeddings = Embeddings(config)
    warn_of_other_specs(embeddings.images, embeddings.image, what="the encoder")
    if output.suffix.lower() == _TABLE:
        with table_file(output, embeddings.schema) as write:
            for batch in embeddings.batches():
                write(batch)
    else:
        _write_array(embeddings.batches(), output, width=embeddings.num_features)
    embeddings.tally.require_some()
    return [*embeddings.tally.notes(), f"{embeddings.num_features:,} features of {embeddings.about['origin']}"]


def embedded(config: EmbedConfig, output: Path | None) -> pa.Table:
    """The features in memory; written as :func:`run_embed` does where there is an output. Raises as it does."""
    if output is not None:
        check_output(output, (_TABLE, _ARRAY), read=config.input)
    embeddings = Embeddings(config)
    warn_of_other_specs(embeddings.images, embeddings.image, what="the encoder")
    is_array = output is not None and output.suffix.lower() == _ARRAY
    table = write_table(None if is_array else output, embeddings.schema, embeddings.batches())
    if output is not None and is_array:
        _write_array(table.to_batches(), output, width=embeddings.num_features)
    embeddings.tally.require_some()
    return table


def _write_array(batches: Iterable[pa.RecordBatch], output: Path, *, width: int) -> None:
    schema = pa.schema([*((name, pa.string()) for name in KEYS), (_ROW, pa.int64())])
    keys = output.with_suffix(".keys.csv")
    num_rows = 0
    with table_file(keys, schema) as write, array_file(output, width=width) as append:
        for batch in batches:
            features = batch[_FEATURES]
            was_read = features.is_valid().to_numpy(zero_copy_only=False)
            rows = num_rows + np.cumsum(was_read) - 1
            num_rows += int(was_read.sum())
            if was_read.any():
                append(features.drop_null().flatten().to_numpy().reshape(-1, width))
            columns = [*(batch[name] for name in KEYS), pa.array(rows, pa.int64(), mask=~was_read)]
            write(pa.record_batch(columns, schema=schema))


@dataclass(frozen=True, kw_only=True)
class _Opened:
    encoder: Any
    name: str
    origin: str
    views: ViewSpec
    image: ImageSpec


def _of_start(config: EmbedConfig) -> _Opened:
    check_source(f"--model {config.model}", config.model)
    views = None if config.size is None else replace(PRESETS["evaluation"], size=config.size)
    (start,) = build_starts(
        {"encoder": (config.model,)}, architecture=config.architecture, views=views, num_random=1
    ).values()
    (found,) = start.encoders
    image = _image_spec(config.model, found.views.size)
    return _Opened(
        encoder=found.encoder, name=found.name, origin=found.origin, views=found.views.evaluation(), image=image
    )


def _of_classifier(path: str) -> _Opened:
    """Its encoder, which may be a published one that is not beside it."""
    kept = load_classifier(path)
    if kept.encoder is None:
        raise InputError(f"--model {path}: reads texts alone; give a model of images")
    encoder: Any = kept.network.encoder
    if not isinstance(kept.network, ImageClassifier) or kept.encoder.layers:
        encoder = encoder.encoder
    origin = f"encoder of the classifier {path}"
    return _Opened(encoder=encoder, name=kept.encoder.name, origin=origin, views=kept.views, image=kept.image)


def _image_spec(source: str, size: int) -> ImageSpec:
    """How files are stored on their way: as the data of the pretraining were, where the encoder says so; else as
    packing does by itself, but never smaller than the views."""
    folder = download(source) if is_on_hub(source) else source
    if is_ours(folder):
        stored = load_encoder(folder).metadata.get("image")
        if stored is not None:
            return from_written(ImageSpec, stored, unknown="ignore")
    return ImageSpec(size=max(ImageSpec().size, size))
