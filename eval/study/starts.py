"""The starts that are compared: names for encoders, each with the views it is given images in.

random                  the architecture as it is initialised, with several seeds: one alone differs from the next by
                        some hundredths of AUROC
imagenet                supervised ImageNet weights of torchvision or timm
package:NAME            weights that an installed Python package holds
RUN, FILE.safetensors   an encoder that train/pretrain.py left behind, with the views it was trained on
RUN/checkpoints/STEP    the encoder in a checkpoint of it, whether the run has finished or not
timm:, hf:, hub:, xrv:  a frozen model of others with its own input (:mod:`eval.foreign.kinds`)
FILE                    any other weights that train/encoders/weights.py reads, such as a checkpoint of MoCo or MoCo-CXR

Several runs (of other seeds, say) can make one start together, whose figures are their means.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from eval.foreign.contract import open_foreign
from eval.foreign.kinds import KINDS, WORDS, is_foreign
from eval.study.features import encoder_hash
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.base.words import nearest_path
from train.encoders.build import build_encoder
from train.encoders.file import find_encoder, is_ours
from train.encoders.saved import LoadedEncoder, load_encoder
from train.encoders.seen import Seen, load_seen
from train.encoders.starts.packages import PACKAGE
from train.encoders.weights import describe_start
from train.encoders.zoo import architecture_of, check_encoder
from train.settings.architectures import CHOICES


@dataclass(frozen=True, kw_only=True)
class StartEncoder:
    """One encoder, in evaluation mode on the CPU.

    ``id`` names its cells: the start's name, or ``random-SEED``. ``encoder`` can be built again from ``name`` (the
    architecture), ``norm``, ``weights`` (see the module) and ``seed`` by :func:`rebuild`. ``hash`` is
    :func:`eval.study.features.encoder_hash`; ``origin`` says in one line what was loaded,
    ``seen`` is what pretraining saw, as far as it is known; ``about`` says of models of others, of which that is not
    known, what goes into them.
    """

    id: str
    encoder: nn.Module
    name: str
    norm: str
    views: ViewSpec
    weights: str
    seed: int
    hash: str
    num_features: int
    origin: str
    seen: Seen = field(default_factory=Seen)
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A way to start: one encoder, or several of one architecture over which figures are averaged."""

    name: str
    encoders: tuple[StartEncoder, ...]


@dataclass(frozen=True, kw_only=True)
class _Common:
    """What starts that are no run take from the run they are compared with, or from the command line."""

    architecture: str
    norm: str
    views: ViewSpec


def build_starts(
    sources: Mapping[str, Sequence[str]],
    *,
    architecture: str | None = None,
    views: ViewSpec | None = None,
    num_random: int = 3,
    seed: int = 0,
) -> dict[str, Start]:
    """The starts by name, in the order given.

    Args:
        sources: by name, what the module's table lists: one, or several that are averaged over.
        architecture, views: of the starts that are no run; default: those of the first that is one.
        num_random: seeds of a random start: ``seed``, ``seed + 1``, ...

    Raises:
        InputError: no source, an unknown one, one that does not fit the architecture, an architecture or views that
            nothing tells, names that are not safe in file names, or several sources of one start that are the same, of
            other architectures, or not all weights of one's own.
    """
    if not sources:
        raise InputError("starts: none given; give at least one of random, imagenet, a run folder or a file of weights")
    for name in sources:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise InputError(f"start {name!r}: its name names files; use letters, digits and . _ + -")
    _check_several(sources)
    loaded = {source: load_encoder(source) for several in sources.values() for source in several if is_ours(source)}
    others = [
        source for several in sources.values() for source in several if source not in loaded and not is_foreign(source)
    ]
    common = _common(next(iter(loaded.values()), None), architecture, views, others) if others else None
    starts = {}
    for name, several in sources.items():
        encoders = []
        for number, source in enumerate(several):
            id = name if len(several) == 1 else f"{name}-{number}"
            if source in loaded:
                encoders.append(_of_run(id, source, loaded[source]))
            elif is_foreign(source):
                encoders.append(_of_others(id, source))
            else:
                assert common is not None
                seeds = range(seed, seed + num_random) if source == "random" else [seed]
                encoders += [_of_weights(id, source, common, seed=number) for number in seeds]
        for other in encoders[1:]:
            if (other.name, other.views) != (encoders[0].name, encoders[0].views):
                raise InputError(
                    f"start {name}: {other.weights} is a {other.name} at {other.views.size} px, "
                    f"{encoders[0].weights} a {encoders[0].name} at {encoders[0].views.size} px; "
                    "a mean is of runs that differ by seed only"
                )
        starts[name] = Start(name=name, encoders=tuple(encoders))
    ids = [encoder.id for start in starts.values() for encoder in start.encoders]
    twice = sorted({id for id in ids if ids.count(id) > 1})
    if twice:
        raise InputError(f"start {twice[0]!r}: names the cells of two encoders; give other names")
    return starts


def check_source(what: str, source: str) -> None:
    """Refuses a start that is neither one of the words nor a path that is there; ``what`` names it in the message.

    Raises:
        InputError: there is none such, with a neighbour whose name is nearly the same.
    """
    is_named = source in WORDS or source.startswith(PACKAGE) or is_foreign(source)
    if not is_named and not Path(source).exists():
        words = ", ".join([*WORDS, f"{PACKAGE}NAME", *(f"{word}:NAME" for word in KINDS)])
        near = nearest_path(source)
        raise InputError(f"{what}: no such file or run folder; give one, or one of {words}{'.' if near else ''}{near}")


def _check_several(named: Mapping[str, Sequence[str]]) -> None:
    for name, several in named.items():
        words = [source for source in several if source in ("random", "imagenet") or is_foreign(source)]
        if len(several) > 1 and words:
            raise InputError(f"start {name}: {words[0]} stands alone; a mean is of run folders or files")
        if len(set(several)) < len(several):
            raise InputError(f"start {name}: {max(several, key=list(several).count)}: given twice; give each run once")


def rebuild(name: str, *, weights: str, norm: str, seed: int, size: int | None = None) -> nn.Module:
    """The encoder of a :class:`StartEncoder` again, as another process builds it from plain values. ``size`` is that
    of its views.

    Raises:
        InputError: the weights are gone, or do not fit.
    """
    if is_foreign(weights):
        return open_foreign(weights).encoder
    return build_encoder(name, weights=weights, norm=norm, seed=seed, size=size).eval()


def _common(
    first: LoadedEncoder | None, architecture: str | None, views: ViewSpec | None, others: Sequence[str]
) -> _Common:
    name = architecture or (first.name if first else None)
    if name is None:
        raise InputError(
            f"start {others[0]}: does not say of which architecture it is, and no run is compared that does; give "
            f"--architecture: {CHOICES}"
        )
    architecture_of(name)
    views = views or (first.views if first else None)
    if views is None:
        raise InputError(f"start {others[0]}: does not say which views it takes, and no run is compared; give --views")
    check_encoder(name, views.size)
    norm = first.metadata["norm"] if first and first.name == name else "batch"
    return _Common(architecture=name, norm=norm, views=views)


def _of_run(id: str, source: str, loaded: LoadedEncoder) -> StartEncoder:
    path = find_encoder(source)
    return StartEncoder(
        id=id,
        encoder=loaded.encoder,
        name=loaded.name,
        norm=loaded.metadata["norm"],
        views=loaded.views,
        weights=str(source),
        seed=0,
        hash=encoder_hash(loaded.encoder),
        num_features=int(loaded.metadata["num_features"]),
        origin=f"encoder of the {'checkpoint' if path.is_dir() else 'run'} {source}",
        seen=load_seen(path, loaded.metadata),
    )


def _of_others(id: str, source: str) -> StartEncoder:
    model = open_foreign(source)
    return StartEncoder(
        id=id,
        encoder=model.encoder,
        name=model.name,
        norm="batch",
        views=model.views,
        weights=source,
        seed=0,
        hash=encoder_hash(model.encoder),
        num_features=model.num_features,
        origin=f"{source}: {model.about}",
        seen=model.seen or Seen(),
        about=model.about if model.seen is None else "",
    )


def _of_weights(name: str, source: str, common: _Common, *, seed: int) -> StartEncoder:
    encoder = rebuild(common.architecture, weights=str(source), norm=common.norm, seed=seed, size=common.views.size)
    num_features = encoder.num_features
    assert isinstance(num_features, int)
    return StartEncoder(
        id=f"{name}-{seed}" if source == "random" else name,
        encoder=encoder,
        name=common.architecture,
        norm=common.norm,
        views=common.views,
        weights=str(source),
        seed=seed,
        hash=encoder_hash(encoder),
        num_features=num_features,
        origin=f"random start, seed {seed}" if source == "random" else describe_start(encoder),
    )
