"""What is wrong in a phantom chest, as amounts to draw: from label severities (CheXpert) or tuberculosis (Shenzhen).

A severity is a uniform quantile in (0, 1] among those who have the finding; amounts rise from barely visible, so the
mild end of every finding is missed by a glance, as it is in life.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shards.phantom.anatomy import Lung
from shards.phantom.canvas import Canvas, Floats, clouds


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A cloudy opacity: where (side index, across, down in lung coordinates, depth 0 front to 1 back), radii in cm."""

    side: int
    across: float
    down: float
    depth: float
    radius: float
    flatness: float
    density: float
    grain: float


@dataclass(frozen=True, kw_only=True)
class Focus:
    """A nodule, or a cavity where ``wall`` is above 0 (cm): a ring around air."""

    side: int
    across: float
    down: float
    depth: float
    radius: float
    wall: float
    density: float


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Amounts in 0 to 1 unless said otherwise; pairs are (patient's right, patient's left)."""

    effusion: tuple[float, float] = (0.0, 0.0)
    pneumothorax: tuple[float, float] = (0.0, 0.0)
    thickening: tuple[float, float] = (0.0, 0.0)
    volume_loss: tuple[float, float] = (0.0, 0.0)
    heart: float = 0.0
    mediastinum: float = 0.0
    edema: float = 0.0
    patches: tuple[Patch, ...] = ()
    foci: tuple[Focus, ...] = ()
    streaks: tuple[Focus, ...] = ()
    fractures: tuple[tuple[int, int, float], ...] = ()
    devices: float = 0.0


def amount(severity: float) -> float:
    """Severity quantile to a drawn amount: half of all cases are under two fifths of the full extent."""
    return 0.04 + 0.96 * severity**1.4 if severity > 0 else 0.0


def _pair(severity: float, shares: tuple[float, float]) -> tuple[float, float]:
    return (amount(severity) * shares[0], amount(severity) * shares[1])


def _shares(rng: np.random.Generator, *, both: float, right: float) -> tuple[float, float]:
    """How a finding is shared between the sides: on ``both`` with that chance, else right or left."""
    lesser = rng.uniform(0.25, 1.0)
    first = rng.random() < right
    if rng.random() >= both:
        lesser = 0.0
    return (1.0, lesser) if first else (lesser, 1.0)


def cloudy_patch(rng: np.random.Generator, *, down: tuple[float, float], radius: float, density: float) -> Patch:
    """A patch somewhere in a zone of either lung, ``down`` being the range from apex 0 to dome 1."""
    return Patch(
        side=int(rng.integers(2)),
        across=float(rng.uniform(0.15, 0.85)),
        down=float(rng.uniform(*down)),
        depth=float(rng.uniform(0.2, 0.9)),
        radius=radius,
        flatness=float(rng.uniform(0.6, 1.2)),
        density=density,
        grain=float(rng.uniform(0.15, 0.55)),
    )


def chexpert_findings(rng: np.random.Generator, severity: Mapping[str, float]) -> Findings:
    """Amounts for the labels' severities (0 where absent).

    ``rng`` decides sides and places: give each study of a patient a generator of the same state, so that a finding
    stays where it was while its severity changes.
    """
    effusion = _shares(rng, both=0.45, right=0.55)
    air = _shares(rng, both=0.05, right=0.55)
    loss = _shares(rng, both=0.35, right=0.45)
    thick = _shares(rng, both=0.3, right=0.5)
    patches: list[Patch] = []
    zones = (("Consolidation", (0.25, 1.0)), ("Pneumonia", (0.3, 1.0)), ("Lung Opacity", (0.15, 1.1)))
    for label, down in zones:
        template = cloudy_patch(rng, down=down, radius=rng.uniform(0.8, 1.3), density=rng.uniform(0.8, 1.2))
        extent = amount(severity.get(label, 0.0))
        if extent > 0:
            strong = 0.75 if label == "Consolidation" else 0.5
            patches.append(_grown(template, radius=1.8 + 4.2 * extent, density=strong * (0.35 + 0.65 * extent)))
    place = cloudy_patch(rng, down=(0.1, 0.95), radius=1.0, density=rng.uniform(0.7, 1.1))
    lesion = amount(severity.get("Lung Lesion", 0.0))
    foci: list[Focus] = []
    if lesion > 0:
        foci.append(
            Focus(
                side=place.side,
                across=place.across,
                down=place.down,
                depth=place.depth,
                radius=0.35 + 1.7 * lesion,
                wall=0.0,
                density=place.density,
            )
        )
    broken = (int(rng.integers(2)), int(rng.integers(3, 8)), float(rng.uniform(0.5, 1.9)))
    return Findings(
        effusion=_pair(severity.get("Pleural Effusion", 0.0), effusion),
        pneumothorax=_pair(severity.get("Pneumothorax", 0.0), air),
        thickening=_pair(severity.get("Pleural Other", 0.0), thick),
        volume_loss=_pair(severity.get("Atelectasis", 0.0), loss),
        heart=amount(severity.get("Cardiomegaly", 0.0)),
        mediastinum=amount(severity.get("Enlarged Cardiomediastinum", 0.0)),
        edema=amount(severity.get("Edema", 0.0)),
        patches=tuple(patches),
        foci=tuple(foci),
        fractures=(broken,) if severity.get("Fracture", 0.0) > 0 else (),
        devices=severity.get("Support Devices", 0.0),
    )


def _grown(patch: Patch, *, radius: float, density: float) -> Patch:
    return Patch(
        side=patch.side,
        across=patch.across,
        down=patch.down,
        depth=patch.depth,
        radius=patch.radius * radius,
        flatness=patch.flatness,
        density=patch.density * density,
        grain=patch.grain,
    )


def tuberculosis_findings(rng: np.random.Generator, severity: float) -> Findings:
    """Apical infiltrates, nodules, cavities and fibrous streaks, mostly in the upper zones; sometimes an effusion.

    ``severity`` 0 gives a healthy chest, which may still hold an old calcified granuloma or an apical cap.
    """
    patches: list[Patch] = []
    foci: list[Focus] = []
    streaks: list[Focus] = []
    if rng.random() < 0.1:
        foci.append(_focus(rng, side=int(rng.integers(2)), down=rng.uniform(0.1, 0.9), radius=0.25, density=2.0))
    cap = (0.25, 0.2) if rng.random() < 0.08 else (0.0, 0.0)
    if severity <= 0:
        return Findings(foci=tuple(foci), thickening=cap)
    extent = amount(severity)
    main = int(rng.random() < 0.45)
    sides = (main, 1 - main) if rng.random() < 0.25 + 0.5 * extent else (main,)
    for side in sides:
        upper = rng.random() < 0.85
        focus_down = float(rng.uniform(0.1, 0.3) if upper else rng.uniform(0.3, 0.85))
        weight = extent if side == main else extent * rng.uniform(0.3, 0.9)
        for _ in range(1 + int(rng.poisson(0.8 + 2.5 * weight))):
            patch = cloudy_patch(rng, down=(focus_down - 0.08, focus_down + 0.12 + 0.25 * weight), radius=1, density=1)
            size = (1.0 + 2.6 * weight) * rng.uniform(0.7, 1.3)
            patch = _grown(patch, radius=size, density=(0.1 + 0.42 * weight) * rng.uniform(0.6, 1.3))
            patches.append(_moved(patch, side))
        for _ in range(int(rng.poisson(2 + 10 * weight))):
            down = focus_down + float(rng.normal(0, 0.1 + 0.1 * weight))
            radius = float(rng.uniform(0.12, 0.4))
            foci.append(_focus(rng, side=side, down=max(down, 0.03), radius=radius, density=rng.uniform(0.4, 1.2)))
        if rng.random() < 0.1 + 0.6 * weight:
            for _ in range(1 + int(rng.random() < weight)):
                radius = rng.uniform(0.7, 1.1 + 1.3 * weight)
                foci.append(
                    _focus(
                        rng,
                        side=side,
                        down=focus_down + rng.normal(0, 0.05),
                        radius=radius,
                        density=rng.uniform(0.5, 1.0),
                        wall=rng.uniform(0.18, 0.5),
                    )
                )
        for _ in range(int(rng.poisson(1 + 4 * weight))):
            streaks.append(
                _focus(rng, side=side, down=max(focus_down + rng.normal(0, 0.08), 0.03), radius=0.1, density=1)
            )
    fluid = (0.0, 0.0)
    if rng.random() < 0.12 + 0.12 * extent:
        level = amount(float(rng.random()))
        fluid = (level, 0.0) if main == 0 else (0.0, level)
    return Findings(effusion=fluid, thickening=cap, patches=tuple(patches), foci=tuple(foci), streaks=tuple(streaks))


def _moved(patch: Patch, side: int) -> Patch:
    fields = {
        name: getattr(patch, name) for name in ("across", "down", "depth", "radius", "flatness", "density", "grain")
    }
    return Patch(side=side, **fields)


def _focus(
    rng: np.random.Generator, *, side: int, down: float, radius: float, density: float, wall: float = 0.0
) -> Focus:
    return Focus(
        side=side,
        across=float(rng.uniform(0.1, 0.9)),
        down=float(down),
        depth=float(rng.uniform(0.3, 0.9)),
        radius=float(radius),
        wall=float(wall),
        density=float(density),
    )


def patch_density(
    patches: tuple[Patch, ...],
    centers: list[tuple[float, float]],
    *,
    canvas: Canvas,
    step: int,
    rng: np.random.Generator,
) -> Floats:
    """(H/step, W/step) share of the lung's air that the patches replace, 0 to about 1, mottled."""
    x, y = canvas.grid(step)
    density = np.zeros(x.shape, np.float32)
    if not patches:
        return density
    cell = canvas.pixels_per_cm / step
    mottle = clouds(rng, x.shape, (1.6 * cell, 0.7 * cell, 0.35 * cell))
    for patch, (cx, cy) in zip(patches, centers, strict=True):
        reach = ((x - cx) / patch.radius) ** 2 + ((y - cy) / (patch.radius * patch.flatness)) ** 2
        core = np.exp(-reach)
        density += core * np.clip(1 + patch.grain * mottle, 0, 2) * patch.density
    return np.minimum(density, 1.1)


def fluid_share(lung: Lung, x: Floats, y: Floats, *, extent: float, supine: float) -> Floats:
    """Share of the lung's depth that pleural fluid takes at patient points ``x``, ``y``, 0 to 1.

    Upright, fluid fills the costophrenic recess from below with a meniscus that climbs the lateral wall; supine, it
    layers behind the lung as a haze that thins towards the apex. ``supine`` blends the two.
    """
    corner_x, corner_y = lung.angle
    across = np.clip((x * lung.side - 2.2) / max(abs(corner_x) - 2.2, 1), 0, 1.05)
    # The height at the wall runs from a blunted tip to two thirds of the lung.
    rise = 0.8 + 0.62 * (lung.dome + 2) * extent**1.15
    upright = rise * (1 - 0.4 * supine)
    climb = 0.42 + 0.5 * across**3 + 0.1 * (1 - across) ** 3
    level = corner_y - upright * climb - 0.25 * across**8 * rise
    softness = 0.35 + 0.18 * upright
    erect = np.clip((y - level) / softness + 0.4, 0, 1)
    erect = erect * erect * (3 - 2 * erect)
    haze = supine * extent**0.8 * 0.62 * np.clip(y / lung.dome, 0, 1.1) ** 1.3
    return np.maximum(erect, haze).astype(np.float32) * (x * lung.side > 0)


def side_centers(patches: tuple[Patch, ...], lungs: tuple[Lung, Lung]) -> list[tuple[float, float]]:
    """Frontal patient positions of patches."""
    points = [lungs[patch.side].place(np.array([patch.across, patch.down])) for patch in patches]
    return [(float(point[0]), float(point[1])) for point in points]
