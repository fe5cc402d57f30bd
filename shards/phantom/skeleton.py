"""The bones of a frontal phantom: spine, ribs, clavicles, shoulder blades, upper arms."""

import cv2
import numpy as np
from numpy.typing import NDArray

from shards.phantom.anatomy import Anatomy, Lung, Pose
from shards.phantom.canvas import Bytes, Canvas, Floats, blur, ribbon, smooth_curve
from shards.phantom.findings import Findings

# One level of the bone layer, in nepers.
_LEVEL = 0.0026
# Ribs in the angle round the chest: 0 at the spine, pi / 2 at the side, up to where the bone ends in front.
_NUMBERS = np.arange(11)
_DROPS = np.interp(_NUMBERS, [0, 2, 6, 10], [3.0, 6.2, 8.8, 8.5])
_PHI = np.linspace(0.08, np.interp(_NUMBERS, [0, 4, 8, 10], [2.5, 2.45, 2.2, 1.75]), 22, axis=1)
_OUTWARD = np.sin(_PHI) ** 0.9
_BACKWARD = np.cos(_PHI)
_BUMP = 0.45 * np.maximum(np.sin(2 * _PHI), 0)
# The 12th of the 22 points is about at the side, where the back arc hands over to the front arc.
_TURN = 12
_BACK_WIDTHS = np.linspace(0.85, 0.75, _TURN + 2, dtype=np.float32)
_FRONT_WIDTHS = np.linspace(0.7, 1.25, 24 - _TURN, dtype=np.float32)
_MIRROR = {-1: np.array([-1, 1], np.float32), 1: np.array([1, 1], np.float32)}


def draw_skeleton(
    anatomy: Anatomy, pose: Pose, lungs: tuple[Lung, Lung], findings: Findings, *, canvas: Canvas
) -> Floats:
    """(H, W) attenuation of the bones."""
    back, front = canvas.layer(), canvas.layer()
    for lung in lungs:
        _draw_ribs(back, front, lung, anatomy, pose, findings, canvas)

    spine = canvas.layer()
    _draw_spine(spine, anatomy, pose, canvas)
    girdle = canvas.layer()
    for lung in lungs:
        _draw_girdle(girdle, lung.side, anatomy, pose, canvas)
    # The spine lies behind the most tissue, so scatter softens it most.
    bone = blur(cv2.add(back, front), 0.06 * canvas.pixels_per_cm).astype(np.float32)
    bone += blur(spine, 0.1 * canvas.pixels_per_cm)
    bone += blur(girdle, 0.06 * canvas.pixels_per_cm)
    return bone * np.float32(_LEVEL * anatomy.bone)


def rib_curves(lung: Lung, anatomy: Anatomy, pose: Pose) -> Floats:
    """(11, 22, 2) axes of a lung's ribs from the spine round the side to their front ends, tilted rings projected."""
    spacing = 2.25 * anatomy.rib_spacing * lung.dome / 22.0
    top = -1.6 + _NUMBERS * spacing
    drop = _DROPS * anatomy.rib_drop * (1 - 0.25 * pose.supine)
    reach = np.interp(top + 0.5 * drop, lung.levels, lung.lateral) + 0.45
    reach[0] = min(reach[0], 0.48 * anatomy.half_width)
    x = lung.side * reach[:, None] * _OUTWARD - 0.5 * pose.turn * _BACKWARD
    y = top[:, None] + 0.5 * drop[:, None] * (1 - _BACKWARD) - _BUMP
    return np.stack([x, y], axis=-1).astype(np.float32)


def _draw_ribs(
    back: Bytes, front: Bytes, lung: Lung, anatomy: Anatomy, pose: Pose, findings: Findings, canvas: Canvas
) -> None:
    curves = rib_curves(lung, anatomy, pose)
    for side, number, place in findings.fractures:
        if side == (lung.side + 1) // 2:
            curves[number, int(np.searchsorted(_PHI[number], place)) :, 1] += 0.45
    scale = anatomy.rib_width * anatomy.scale
    shapes = (
        (front, curves[:, _TURN - 2 :], _FRONT_WIDTHS, 48.0, 20.0),
        (back, curves[:, : _TURN + 2], _BACK_WIDTHS, 62.0, 34.0),
    )
    for layer, axes, widths, body, cortex in shapes:
        outlines = ribbon(axes, widths * scale)
        canvas.fill(layer, outlines, body)
        half = axes.shape[1]
        canvas.stroke(layer, np.concatenate([outlines[:, :half], outlines[:, half:]]), body + cortex)


def spine_axis(anatomy: Anatomy, y: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sideways course of the spine (cm) at heights ``y``."""
    return anatomy.scoliosis[0] * np.sin(y / 9.0) + anatomy.scoliosis[1] * np.sin(y / 5.0 + 1)


def _draw_spine(layer: Bytes, anatomy: Anatomy, pose: Pose, canvas: Canvas) -> None:
    tall = 2.25 * anatomy.lung_height / 23.0
    centers = np.arange(-9, 34, tall)
    middle = spine_axis(anatomy, centers) - 0.5 * pose.turn
    for y, x in zip(centers.tolist(), middle.tolist(), strict=True):
        half = float(np.interp(y, [-12, 0, 20, 35], [1.15, 1.4, 1.8, 2.1])) * anatomy.scale
        body = 0.42 * tall
        waist = 0.9 * half
        knots = [[-half, -body], [half, -body], [waist, 0], [half, body], [-half, body], [-waist, 0]]
        outline = np.array(knots, np.float32) + np.array([x, y], np.float32)
        canvas.stroke(
            layer, [np.array([[x - 2.9, y - 0.5 * tall], [x + 2.9, y - 0.5 * tall]], np.float32)], 34, width_cm=0.75
        )
        canvas.fill(layer, outline, 84)
        canvas.stroke(layer, [outline[:2], outline[3:5]], 125, width_cm=0.12)
        for side in (-1, 1):
            canvas.ellipse(layer, (x + side * 0.62 * half, y - 0.25 * tall), (0.28, 0.42), 135)
        tip = x - 0.35 * pose.turn
        canvas.ellipse(layer, (tip, y + 0.15 * tall), (0.25, 0.6), 125)


def _draw_girdle(layer: Bytes, side: int, anatomy: Anatomy, pose: Pose, canvas: Canvas) -> None:
    mirror = _MIRROR[side]
    drop = 0.7 * anatomy.shoulder_drop + (1.2 if pose.arms_down else 0.0)
    outer = anatomy.half_width + 2.6
    tilt = 0.6 * anatomy.clavicle_slope
    inner_x, inner_y = 1.6, 3.6 - 1.4 * (pose.projection == "AP")
    clavicle = smooth_curve(
        [
            [inner_x, inner_y],
            [0.33 * outer, inner_y - 0.9 - 0.4 * tilt],
            [0.7 * outer, -0.4 - tilt + 0.5 * drop],
            [outer, -1.0 - tilt + drop],
        ]
    )
    clavicle = (clavicle + np.array([side * 0.8 * pose.turn, 0], np.float32)) * mirror
    outline = ribbon(clavicle, np.linspace(1.25, 0.95, len(clavicle)) * anatomy.scale)
    # Arms forward (PA) turn the blades out of the lungs; portable films leave them over the outer thirds.
    slide = 4.2 * (1 - pose.scapulae_in)
    blade = np.array(
        [
            [0.62 * outer, 1.8],
            [0.56 * outer, 6],
            [0.72 * outer, 12.5],
            [0.86 * outer, 9],
            [1.02 * outer, 3.6],
            [0.98 * outer, 1.6],
        ],
        np.float32,
    )
    blade = smooth_curve((blade + np.array([slide, 0.6 * drop], np.float32)) * mirror, closed=True)
    canvas.fill(layer, blade, 24)
    canvas.stroke(layer, [blade], 50, width_cm=0.2)
    spur = np.array([[0.64 * outer + slide, 3.2 + 0.6 * drop], [1.14 * outer, 0.4 + drop]], np.float32) * mirror
    canvas.stroke(layer, [spur], 58, width_cm=0.8)
    head = np.array([outer + 1.9, 2.2 + drop], np.float32)
    elbow = np.array([outer + 3.0, 32], np.float32) if pose.arms_down else np.array([outer + 15, 22], np.float32)
    shaft = np.stack([head + [0.5, 1], elbow]).astype(np.float32) * mirror
    canvas.stroke(layer, [shaft], 110, width_cm=2.1)
    canvas.stroke(layer, [shaft], 70, width_cm=1.4)
    canvas.ellipse(layer, (float(side * head[0]), float(head[1])), (2.3, 2.4), 72)
    canvas.ellipse(layer, (float(side * head[0]), float(head[1])), (2.3, 2.4), 105, width_cm=0.15)
    canvas.ellipse(layer, (float(side * (outer + 0.6 * slide * 0.3)), 2.6 + drop), (0.6, 1.7), 105)
    canvas.fill(layer, outline, 90)
    half = len(clavicle)
    canvas.stroke(layer, [outline[:half], outline[half:]], 135, width_cm=0.12)
