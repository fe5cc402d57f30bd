"""The phantom patient: what of a chest stays the same from one radiograph to the next, and how a study poses it.

Lengths are centimetres. Sizes follow what adult chests measure (thoracic width 22-30 cm, lung height 20-28 cm,
cardiothoracic ratio about 0.45); sex, age and body mass move them slightly, infants strongly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shards.phantom.canvas import Floats, smooth_curve

SIDES = (-1, 1)  # image left (the patient's right), image right


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One patient. Branches are per side, in lung coordinates: across 0 (hilum side) to 1, down 0 (apex) to 1."""

    sex: str
    age: float
    body_mass: float
    half_width: float
    lung_height: float
    dome_lift: tuple[float, float]
    recess: float
    heart_ratio: float
    heart_low: float
    aortic_knob: float
    apex_width: float
    bulge: float
    rib_spacing: float
    rib_drop: float
    rib_width: float
    bone: float
    clavicle_slope: float
    shoulder_drop: float
    breast: float
    scoliosis: tuple[float, float]
    chest_depth: float
    kyphosis: float
    emphysema: float
    vessels: tuple[tuple[Floats, ...], tuple[Floats, ...]]
    bubble: float
    scale: float


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How one radiograph was taken: ``inspiration`` 1 is a full breath, ``turn`` shifts front against back (cm)."""

    projection: str
    inspiration: float
    turn: float
    supine: float
    arms_down: float
    scapulae_in: float
    heart_magnification: float


@dataclass(frozen=True, kw_only=True)
class Lung:
    """One lung of a posed patient: outline (P, 2), and the curves that place things in it."""

    side: int
    outline: Floats
    extended: Floats
    levels: Floats
    lateral: Floats
    medial: Floats
    dome: float
    angle: tuple[float, float]

    def place(self, points: Floats) -> Floats:
        """Lung coordinates (..., 2) (across, down) to patient centimetres."""
        y = points[..., 1] * self.dome
        outer = np.interp(y, self.levels, self.lateral)
        inner = np.interp(y, self.levels, self.medial)
        return np.stack([self.side * (inner + points[..., 0] * (outer - inner)), y], axis=-1).astype(np.float32)


def draw_anatomy(rng: np.random.Generator, *, sex: str, age: float) -> Anatomy:
    """Draws a patient of a sex (``Male``, ``Female``, other words count as either) and age in years."""
    male = sex == "Male" or (sex != "Female" and rng.random() < 0.5)
    child = float(np.clip((16 - age) / 16, 0, 1))
    old = float(np.clip((age - 40) / 50, 0, 1))
    body_mass = float(np.clip(rng.lognormal(0.0, 0.2), 0.7, 1.6)) * (1 - 0.15 * child)
    emphysema = float(np.clip(rng.normal(-0.6 + 0.6 * old, 0.6), 0, 1.2))
    lifts = rng.normal([0.0, 0.9], [0.5, 0.6])
    if rng.random() < 0.06:
        lifts[rng.integers(2)] -= rng.uniform(1.5, 4)  # an elevated hemidiaphragm, which imitates disease at the base
    return Anatomy(
        sex=sex,
        age=age,
        body_mass=body_mass,
        half_width=(13.3 if male else 12.1) * rng.normal(1, 0.045) * (1 + 0.05 * child),
        lung_height=(23.6 if male else 21.6) * rng.normal(1, 0.05) * (1 + 0.06 * emphysema) * (1 - 0.22 * child),
        dome_lift=(float(lifts[0]), float(lifts[1])),
        recess=float(np.clip(rng.normal(4.6, 0.8), 2.6, 6.5)) * (1 - 0.4 * min(emphysema, 1)),
        heart_ratio=float(rng.normal(0.44 + 0.04 * old + 0.1 * child, 0.03))
        + 0.05 * (body_mass - 1)
        - 0.04 * emphysema,
        heart_low=float(rng.normal(0, 1)),
        aortic_knob=float(np.clip(rng.normal(0.35 + 0.8 * old, 0.3), 0, 1.6)) * (1 - child),
        apex_width=float(rng.normal(0.47, 0.035)),
        bulge=float(rng.normal(0, 0.02)),
        rib_spacing=float(rng.normal(1, 0.04)),
        rib_drop=float(rng.normal(1, 0.12)) * (1 - 0.5 * child) * (1 - 0.2 * min(emphysema, 1)),
        rib_width=float(rng.normal(1.0 if male else 0.9, 0.08)),
        bone=float(np.clip(rng.normal(1.05 - 0.35 * old, 0.12), 0.5, 1.4)) * (1 - 0.3 * child),
        clavicle_slope=float(rng.normal(0, 1)),
        shoulder_drop=float(rng.normal(0, 1)),
        breast=0.0 if male or age < 14 else float(np.clip(rng.normal(0.9 + 0.7 * (body_mass - 1), 0.4), 0, 2.2)),
        scoliosis=(float(rng.normal(0, 0.35 + 0.35 * old)), float(rng.normal(0, 0.2))),
        chest_depth=(21.5 if male else 20.0) * (0.75 + 0.25 * body_mass) * float(rng.normal(1, 0.05)),
        kyphosis=float(np.clip(rng.normal(0.5 + old, 0.35), 0, 2)),
        emphysema=emphysema,
        vessels=(_branches(rng), _branches(rng)),
        bubble=float(rng.random()),
        scale=1 - 0.12 * child,
    )


def _branches(rng: np.random.Generator) -> tuple[Floats, ...]:
    """Vessels of a lung, one array (branches, 5 points, 2) a generation, fanning out from the hilum."""
    num = 11
    starts = np.stack([rng.uniform(0.0, 0.12, num), rng.normal(0.47, 0.06, num)], axis=1)
    headings = np.linspace(-1.45, 1.4, num) + rng.normal(0, 0.12, num)
    lengths = rng.uniform(0.2, 0.34, num) * (1 - 0.25 * np.abs(np.sin(headings)))
    generations = []
    steps = np.linspace(0, 1, 5)
    for _ in range(4):
        bend = rng.normal(0, 0.35, len(starts))
        angle = headings[:, None] + bend[:, None] * steps[None, :]
        stride = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * (lengths[:, None, None] * 0.25)
        points = starts[:, None, :] + np.cumsum(stride, axis=1) - stride[:, :1]
        generations.append(points.astype(np.float32))
        # Each branch gives two at its end and one from its middle.
        starts = np.concatenate([points[:, 4], points[:, 4], points[:, 2]])
        spread = np.repeat([0.35, -0.35, 0.6], len(headings)) * np.where(np.arange(3 * len(headings)) % 2, 1, -1)
        headings = np.tile(headings + bend, 3) + spread + rng.normal(0, 0.18, 3 * len(headings))
        lengths = np.tile(lengths, 3) * rng.uniform(0.55, 0.8, 3 * len(lengths))
        inside = (starts[:, 0] < 0.97) & (starts[:, 0] > 0) & (starts[:, 1] > 0.03) & (starts[:, 1] < 1.15)
        starts, headings, lengths = starts[inside], headings[inside], lengths[inside]
    return tuple(generations)


def draw_pose(rng: np.random.Generator, projection: str) -> Pose:
    """Draws the positioning: a portable AP is flatter, shallower in breath, more turned, with scapulae in the lungs."""
    if projection == "AP":
        return Pose(
            projection=projection,
            inspiration=float(np.clip(rng.normal(0.83, 0.08), 0.6, 1.0)),
            turn=float(rng.normal(0, 0.8)),
            supine=float(np.clip(rng.normal(0.45, 0.35), 0, 1)),
            arms_down=float(rng.random() < 0.75),
            scapulae_in=float(np.clip(rng.normal(0.8, 0.2), 0.2, 1)),
            heart_magnification=float(rng.normal(1.1, 0.03)),
        )
    return Pose(
        projection=projection,
        inspiration=float(np.clip(rng.normal(0.98, 0.05), 0.8, 1.08)),
        turn=float(rng.normal(0, 0.35)),
        supine=0.0,
        arms_down=float(rng.random() < 0.15),
        scapulae_in=float(np.clip(rng.normal(0.15, 0.15), 0, 0.6)),
        heart_magnification=1.0,
    )


def pose_lung(anatomy: Anatomy, pose: Pose, side: int, *, lift: float = 0.0) -> Lung:
    """The frontal outline of one lung, its dome raised by ``lift`` cm (volume loss)."""
    index = SIDES.index(side)
    dome = anatomy.lung_height * pose.inspiration - 1.2 * (index == 0) + anatomy.dome_lift[index] - lift
    width = anatomy.half_width * (0.97 + 0.03 * pose.inspiration)
    recess = anatomy.recess * (0.55 + 0.45 * pose.inspiration)
    fractions = np.array([0.0, 0.05, 0.15, 0.3, 0.5, 0.75, 1.0, 1.3])
    outer = np.array([0.0, 0.13, 0.3, 0.47, 0.58, 0.61, 0.61, 0.6]) / 0.61
    knots = np.stack([(anatomy.apex_width + (1 - anatomy.apex_width) * outer) * width, fractions * dome], 1)
    knots[3:5, 0] += anatomy.bulge * width
    wall = smooth_curve(knots)
    levels, lateral = wall[:, 1], wall[:, 0]
    medial: NDArray[np.floating] = np.interp(
        levels, np.array([0.0, 0.12, 0.3, 0.6, 1.0]) * dome, [2.9, 2.4, 2.3, 2.2, 2.2]
    )
    bottom = dome + recess
    keep = levels < bottom - 0.6
    corner_x = float(np.interp(bottom, levels, lateral)) - 0.15
    across = np.linspace(1, 0, 16)
    slope = np.where(
        across > 0.4, recess * (np.abs(across - 0.4) / 0.6) ** 2.3, 1.5 * (np.abs(0.4 - across) / 0.4) ** 1.7
    )
    base = np.stack([2.2 + across * (corner_x - 2.2), dome + slope], axis=1)
    apex = smooth_curve([[2.9, 0.1], [4.1, -0.9], [0.72 * lateral[0] + 1, -0.95], [lateral[0], levels[0]]], num_steps=5)
    outside = np.stack([lateral[keep], levels[keep]], axis=1)
    inside = np.stack([medial, levels], axis=1)[levels < dome + 1.4][::-1]
    mirror = np.array([side, 1], np.float32)
    outline = np.concatenate([apex[:-1], outside, base, inside]).astype(np.float32) * mirror
    deeper = base + [0, 6]
    extended = np.concatenate([apex[:-1], np.stack([lateral, levels], 1)[levels < bottom + 3], deeper, inside])
    return Lung(
        side=side,
        outline=outline,
        extended=extended.astype(np.float32) * mirror,
        levels=levels,
        lateral=lateral,
        medial=medial.astype(np.float32),
        dome=dome,
        angle=(side * corner_x, bottom),
    )
