"""A frontal chest radiograph of a phantom patient, drawn as attenuation in nepers."""

import numpy as np

from shards.phantom.anatomy import SIDES, Anatomy, Lung, Pose, pose_lung
from shards.phantom.canvas import Bytes, Canvas, Floats, blur, clouds, ribbon, smooth_curve
from shards.phantom.devices import draw_devices
from shards.phantom.findings import Findings, fluid_share, patch_density, side_centers
from shards.phantom.skeleton import draw_skeleton

# Attenuation a centimetre at the mean energy of a chest film (nepers), after NIST's tables for ~70 keV.
WATER = 0.19
LUNG = 0.052
# One level of the fine layer (vessels, nodules), in nepers.
FINE_LEVEL = 0.0035
# Smooth fields are computed on sheets this many times smaller.
HALF, COARSE = 2, 4


def frontal_attenuation(
    anatomy: Anatomy, pose: Pose, findings: Findings, *, canvas: Canvas, rng: np.random.Generator
) -> Floats:
    """(H, W) attenuation of the posed patient with ``findings``."""
    lungs = posed_lungs(anatomy, pose, findings)
    x, y = canvas.grid(HALF)
    per_cm = canvas.pixels_per_cm
    inside = _lung_depth(anatomy, lungs, canvas, y)
    solid = _mediastinum(anatomy, pose, lungs, findings, canvas)
    hidden = np.zeros(x.shape, np.float32)
    for lung, extent in zip(lungs, findings.effusion, strict=True):
        if extent > 0:
            hidden = np.maximum(hidden, fluid_share(lung, x, y, extent=extent, supine=pose.supine))
    # The heart displaces part of the lung's depth, fluid another part.
    air = np.maximum(inside - solid, 0.12 * inside) * (1 - hidden)
    density = _density(anatomy, lungs, findings, canvas, x, y, rng)
    mask = canvas.layer()
    for lung in lungs:
        canvas.fill(mask, lung.outline, 255)
    # Behind each dome a wedge of lung reaches deeper and shows faintly through the abdomen.
    edge = 0.05 + (0.95 / 255) * blur(mask, 0.05 * per_cm).astype(np.float32)
    gas = canvas.enlarge(air * (np.float32(WATER) - density)) * edge
    fine = canvas.layer()
    _draw_vessels(fine, anatomy, lungs, findings, canvas)
    _draw_foci(fine, lungs, findings, canvas, rng)
    softness = (0.05 + 0.06 * findings.edema) * per_cm
    total = canvas.enlarge(_body(anatomy, pose, lungs, canvas, rng)) * np.float32(WATER)
    total -= gas
    total += blur(fine, softness) * (gas * np.float32(FINE_LEVEL))
    total += draw_skeleton(anatomy, pose, lungs, findings, canvas=canvas)
    total -= _airways_and_bowel(anatomy, pose, lungs, canvas, rng)
    total += draw_devices(lungs, findings, pose, canvas=canvas, rng=rng)
    return np.maximum(total, 0)


def posed_lungs(anatomy: Anatomy, pose: Pose, findings: Findings) -> tuple[Lung, Lung]:
    """Both lungs, a side that lost volume with its dome raised."""
    right, left = (
        pose_lung(anatomy, pose, side, lift=3.2 * loss) for side, loss in zip(SIDES, findings.volume_loss, strict=True)
    )
    return right, left


def _lung_depth(anatomy: Anatomy, lungs: tuple[Lung, Lung], canvas: Canvas, y: Floats) -> Floats:
    """(H/2, W/2) front-to-back depth of lung (cm), reaching below the domes."""
    depth = np.zeros((-(-canvas.height // HALF), -(-canvas.width // HALF)), np.float32)
    full = anatomy.chest_depth * 0.7 * (1 + 0.1 * anatomy.emphysema)
    for lung in lungs:
        rounded = canvas.depth_inside(lung.extended, step=HALF, rim_cm=4.0)
        depth += rounded * full * np.clip(0.55 + 0.75 * y / lung.dome, 0.5, 1)
    return depth


def _mediastinum(anatomy: Anatomy, pose: Pose, lungs: tuple[Lung, Lung], findings: Findings, canvas: Canvas) -> Floats:
    """(H/2, W/2) depth (cm) of heart, great vessels and hila."""
    bottom = 0.5 * (lungs[0].dome + lungs[1].dome)
    ratio = anatomy.heart_ratio * pose.heart_magnification + 0.21 * findings.heart + 0.03 * (1 - pose.inspiration)
    wide = 2 * anatomy.half_width * ratio
    right, left = 0.36 * wide, 0.64 * wide
    stretch = 1 + 0.35 * (1 - pose.inspiration) + 0.6 * findings.mediastinum + 0.12 * pose.supine
    knob = 2.6 + 1.0 * anatomy.aortic_knob
    turn = pose.turn
    outline = smooth_curve(
        [
            [-2.5 * stretch, -3],
            [-2.5 * stretch + 0.4 * turn, 0.12 * bottom],
            [-2.7 * stretch + 0.5 * turn, 0.33 * bottom],
            [-0.8 * right + turn, 0.52 * bottom],
            [-right + turn, 0.76 * bottom],
            [-0.8 * right + turn, bottom + 0.3],
            [0, bottom + 2.2],
            [0.8 * left + turn, bottom + 1.3 + 0.4 * anatomy.heart_low],
            [left + turn, bottom - 1.4 + 0.5 * anatomy.heart_low],
            [0.86 * left + turn, 0.76 * bottom],
            [0.58 * left + turn, 0.58 * bottom],
            [3.3 * stretch + turn, 0.45 * bottom],
            [2.6 * stretch + 0.5 * turn, 0.37 * bottom],
            [knob * stretch + 0.5 * turn, 0.28 * bottom],
            [2.3 * stretch + 0.4 * turn, 0.16 * bottom],
            [2.4 * stretch, -3],
        ],
        closed=True,
    )
    x, y = canvas.grid(HALF)
    depth = canvas.depth_inside(outline, step=HALF, rim_cm=3.2) * np.clip(6.5 + 0.25 * y, 5.5, 11.5)
    depth = blur(depth, 0.09 * canvas.pixels_per_cm / HALF)
    for lung, level in zip(lungs, (0.5, 0.46), strict=True):
        hx, hy = lung.side * 3.9 + 0.6 * turn, level * lung.dome
        spot = ((x - hx) / 1.5) ** 2 + ((y - hy - 0.4 * lung.side * (x - hx)) / 2.4) ** 2
        depth += np.exp(-spot) * (2.6 + 1.2 * findings.edema)
    return depth


def _density(
    anatomy: Anatomy,
    lungs: tuple[Lung, Lung],
    findings: Findings,
    canvas: Canvas,
    x: Floats,
    y: Floats,
    rng: np.random.Generator,
) -> Floats:
    """(H/2, W/2) attenuation a centimetre of the lung tissue, from black air to solid."""
    cell = canvas.pixels_per_cm / HALF
    centers = side_centers(findings.patches, lungs)
    dense = patch_density(findings.patches, centers, canvas=canvas, step=HALF, rng=rng)
    mottle = clouds(rng, x.shape, (2.5 * cell, 1.0 * cell, 0.45 * cell))
    for index, lung in enumerate(lungs):
        down = y / lung.dome
        own = x * lung.side > 0
        if findings.edema > 0:
            near_hilum = np.exp(-(((np.abs(x) - 4.5) / 4.5) ** 2) - ((down - 0.6) / 0.38) ** 2)
            dense += own * findings.edema * (0.05 + 0.4 * near_hilum * np.clip(1 + 0.35 * mottle, 0, 2))
        if findings.volume_loss[index] > 0:
            base = np.clip((down - 0.62) / 0.4, 0, 1)
            dense += own * base**2 * findings.volume_loss[index] * 0.4 * np.clip(1 + 0.4 * mottle, 0, 2)
    tissue = LUNG * (1 - 0.3 * min(anatomy.emphysema, 1)) * (1 + 0.07 * mottle)
    tissue += (WATER * 0.95 - LUNG) * np.minimum(dense, 1)
    for index, lung in enumerate(lungs):
        if findings.pneumothorax[index] > 0:
            gap = np.zeros(x.shape, np.uint8)
            canvas.fill(gap, _pleural_gap(lung, findings.pneumothorax[index]), 255, scale=1 / HALF)
            tissue *= 1 - gap.astype(np.float32) * np.float32(0.85 / 255)
    return tissue.astype(np.float32)


def _collapsed_edge(lung: Lung, extent: float) -> Floats:
    down = np.linspace(0.0, 0.95, 14)
    across = 1 - extent**0.8 * (0.06 + 0.6 * (1 - down) ** 1.5) - 0.02
    across[0] = 0.5 * across[0]
    points = lung.place(np.stack([across, down], axis=1))
    points[0, 1] += 2.5 * extent
    return smooth_curve(points, num_steps=3)


def _pleural_gap(lung: Lung, extent: float) -> Floats:
    wall = lung.place(np.stack([np.full(10, 1.05), np.linspace(0.95, -0.08, 10)], axis=1))
    corner = np.array([[lung.side * 2.5, -1.0]], np.float32)
    return np.concatenate([_collapsed_edge(lung, extent), wall, corner])


def _draw_vessels(fine: Bytes, anatomy: Anatomy, lungs: tuple[Lung, Lung], findings: Findings, canvas: Canvas) -> None:
    # Thin generations first: OpenCV overwrites, and a thick vessel in front hides the thin one behind it.
    looks = ((0.36, 62.0), (0.24, 52.0), (0.13, 46.0), (0.07, 38.0))
    swell = 1 + 0.5 * findings.edema
    for index, lung in enumerate(lungs):
        for generation in (3, 2, 1, 0):
            curves = lung.place(anatomy.vessels[index][generation])
            width, value = looks[generation]
            canvas.stroke(fine, curves, value * (1 - 0.35 * min(anatomy.emphysema, 1)), width_cm=width * swell)
        if findings.pneumothorax[index] > 0:
            canvas.fill(fine, _pleural_gap(lung, findings.pneumothorax[index]), 0)
            canvas.stroke(fine, [_collapsed_edge(lung, findings.pneumothorax[index])], 90)
        loss = findings.volume_loss[index]
        if loss > 0:
            # Plate-like bands above the dome.
            for band in range(1 + int(loss > 0.3)):
                start = lung.place(np.array([0.2 + 0.2 * band, 0.88 - 0.16 * band]))
                end = lung.place(np.array([0.8, 0.8 - 0.1 * band]))
                path = smooth_curve(np.stack([start, 0.5 * (start + end) - [0, 0.5], end]))
                canvas.fill(
                    fine, ribbon(path, (0.15 + 0.3 * loss) * np.sin(np.linspace(0.3, 2.8, len(path)))), 45 + 45 * loss
                )
        if findings.thickening[index] > 0:
            down = np.linspace(0.0, 0.4 + 0.6 * findings.thickening[index], 12)
            rim = lung.place(np.stack([np.full(12, 0.985), down], axis=1))
            canvas.stroke(fine, [rim], 120, width_cm=0.25 + 0.6 * findings.thickening[index])


def _draw_foci(
    fine: Bytes, lungs: tuple[Lung, Lung], findings: Findings, canvas: Canvas, rng: np.random.Generator
) -> None:
    for focus in findings.foci:
        cx, cy = (float(v) for v in lungs[focus.side].place(np.array([focus.across, focus.down])))
        angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        lumpy = focus.radius * (1 + 0.16 * rng.standard_normal(10))
        outline = smooth_curve(np.stack([cx + lumpy * np.cos(angles), cy + lumpy * np.sin(angles)], 1), closed=True)
        if focus.wall > 0:
            canvas.fill(fine, outline, 14)
            canvas.stroke(fine, [np.concatenate([outline, outline[:1]])], 110 * focus.density, width_cm=focus.wall)
        else:
            canvas.fill(fine, outline, min(110 * focus.density, 255))
    for streak in findings.streaks:
        lung = lungs[streak.side]
        far = lung.place(np.array([streak.across, streak.down]))
        near = lung.place(np.array([0.05, 0.42]))
        middle = 0.5 * (near + far) + rng.normal(0, 0.7, 2)
        path = smooth_curve(np.stack([far, middle, far + 0.75 * (near - far)]))
        canvas.stroke(fine, [path], 75, width_cm=0.1)


def _body(anatomy: Anatomy, pose: Pose, lungs: tuple[Lung, Lung], canvas: Canvas, rng: np.random.Generator) -> Floats:
    """(H/4, W/4) front-to-back depth of soft tissue (cm): trunk, neck, arms, breasts."""
    x, y = canvas.grid(COARSE)
    wall = 1.6 + 2.6 * (anatomy.body_mass - 0.7)
    trunk = anatomy.half_width + wall
    drop = 0.7 * anatomy.shoulder_drop + (1.2 if pose.arms_down else 0.0)
    shoulder = trunk + 4.2
    neck = 5.4 + 1.2 * (anatomy.body_mass - 1)
    half = [
        [neck + 0.8, -16],
        [neck, -7],
        [neck + 1.6, -4.6],
        [0.6 * shoulder, -2.8 + 0.4 * drop],
        [0.92 * shoulder, -1 + drop],
        [shoulder + 1, 3 + drop],
        [trunk + 2.4, 8.5],
        [trunk + 0.6, 13],
        [trunk + 0.2, 22],
        [trunk + 0.6 + 1.5 * (anatomy.body_mass - 1), 40],
    ]
    right = smooth_curve(half)
    outline = np.concatenate([right, right[::-1] * np.array([-1, 1], np.float32)])
    rounded = canvas.depth_inside(outline, step=COARSE, rim_cm=6.5)
    chest = anatomy.chest_depth * np.interp(y, [-14, -6, -1, 4, 10, 20, 30], [0.62, 0.6, 0.68, 0.82, 0.94, 1, 1.05])
    depth = rounded * chest.astype(np.float32)
    for side in SIDES:
        away = rng.uniform(0, 1.6)
        if pose.arms_down:
            centre = [
                [shoulder - 2.6, 0.5 + drop],
                [trunk + 2.6 + away, 8],
                [trunk + 3.2 + 1.6 * away, 20],
                [trunk + 4 + 2 * away, 40],
            ]
        else:
            centre = [[shoulder - 2.6, 0.5 + drop], [shoulder + 4, 6], [shoulder + 9, 14], [shoulder + 12, 26]]
        path = smooth_curve(centre)
        thick = 4.4 + 1.2 * (anatomy.body_mass - 1)
        arm = np.concatenate([path + [thick, 0], (path - [thick, 0])[::-1]]).astype(np.float32) * np.array([side, 1])
        arm_depth = canvas.depth_inside(arm.astype(np.float32), step=COARSE, rim_cm=thick)
        depth = np.maximum(depth, arm_depth * np.float32(2 * thick))
        if anatomy.breast > 0:
            bx, by = side * (0.52 * anatomy.half_width + pose.turn * 0.7), 14.5 + 2.2 * anatomy.breast - 3 * pose.supine
            reach = ((x - bx) / (5.6 + 1.2 * anatomy.breast)) ** 2 + ((y - by) / (4.8 + 1.4 * anatomy.breast)) ** 2
            # Gravity gives the lower half a sharper border than the upper.
            depth += anatomy.breast * 3.6 * np.sqrt(np.clip(1 - reach, 0, 1)) * np.clip(0.6 + 0.12 * (y - by), 0.15, 1)
    return blur(depth.astype(np.float32), 1.2)


def _airways_and_bowel(
    anatomy: Anatomy, pose: Pose, lungs: tuple[Lung, Lung], canvas: Canvas, rng: np.random.Generator
) -> Floats:
    """(H, W) attenuation that gas removes: trachea and main bronchi, stomach bubble, some bowel gas."""
    layer = canvas.layer()
    lean = anatomy.scoliosis[0] * 0.4 + 0.35 * pose.turn
    carina = 0.36 * lungs[0].dome
    canvas.stroke(layer, [np.array([[lean, -12], [lean, 0], [lean - 0.3, carina]], np.float32)], 70, width_cm=1.7)
    for side, reach in ((-1, 2.6), (1, 3.4)):
        path = np.array([[lean - 0.3, carina], [lean + side * reach, carina + 2.7]], np.float32)
        canvas.stroke(layer, [path], 45, width_cm=1.1)
    if anatomy.bubble < 0.55:
        top = lungs[1].place(np.array([rng.uniform(0.3, 0.6), 1.0]))
        size = rng.uniform(0.5, 1.0)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        # Upright, the stomach's fluid ends the bubble below in a flat level.
        lower = rng.uniform(0.1, 0.6) if pose.supine < 0.3 else 1.0
        shape = np.stack([2.6 * size * np.cos(angles), 1.5 * size * np.minimum(np.sin(angles), lower)], axis=1)
        canvas.fill(layer, (top + [0, 0.9 + 1.5 * size] + shape).astype(np.float32), 60 + 60 * rng.random())
    for _ in range(int(rng.poisson(0.6))):
        center = (float(rng.uniform(-9, 11)), lungs[1].dome + float(rng.uniform(6, 11)))
        canvas.ellipse(layer, center, (rng.uniform(0.8, 2.4), rng.uniform(0.6, 1.4)), 25 + 45 * rng.random())
    return blur(layer, 0.14 * canvas.pixels_per_cm) * np.float32(0.004)
