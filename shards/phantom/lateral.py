"""A lateral chest radiograph of a phantom patient, front to the left of the picture, drawn as attenuation in nepers."""

import numpy as np

from shards.phantom.anatomy import SIDES, Anatomy, Pose
from shards.phantom.canvas import Bytes, Canvas, Floats, blur, clouds, ribbon, smooth_curve
from shards.phantom.findings import Findings, patch_density
from shards.phantom.frontal import COARSE, FINE_LEVEL, HALF, LUNG, WATER

_BONE_LEVEL = 0.0034


def lateral_attenuation(
    anatomy: Anatomy, pose: Pose, findings: Findings, *, canvas: Canvas, rng: np.random.Generator
) -> Floats:
    """(H, W) attenuation from the side; both lungs are superposed, so each finding shows at half its weight."""
    x, y = canvas.grid(HALF)
    per_cm = canvas.pixels_per_cm
    depth_air = np.zeros(x.shape, np.float32)
    mask = np.zeros((canvas.height, canvas.width), np.float32)
    density = np.zeros(x.shape, np.float32)
    for index in range(len(SIDES)):
        outline, deeper, corner, dome = _lung_profile(anatomy, pose, findings, index)
        rounded = canvas.depth_inside(deeper, step=HALF, rim_cm=4.0) * (0.78 * anatomy.half_width)
        rounded *= np.clip(0.5 + 0.06 * y, 0.45, 1)
        layer = canvas.layer()
        canvas.fill(layer, outline, 255)
        extent = findings.effusion[index]
        if extent > 0:
            # Fluid gathers in the posterior recess first, with a meniscus that climbs the back wall.
            rise = 0.9 + 0.6 * (dome + 2) * extent
            behind = np.clip((x + 9) / (corner[0] + 9), 0, 1.05)
            level = corner[1] - rise * (0.35 + 0.6 * behind**3 + 0.08 * (1 - behind) ** 3)
            fluid = np.clip((y - level) / (0.35 + 0.2 * rise) + 0.4, 0, 1)
            rounded *= 1 - 0.95 * fluid
        sharp = blur(layer, 0.05 * per_cm)
        depth_air += rounded
        mask += sharp * np.float32(0.5 / 255)
    heart = _heart(anatomy, findings, canvas)
    air = np.maximum(depth_air - heart, 0.25 * depth_air)
    back_to_front = 2 * 0.42 * anatomy.chest_depth
    centers = [
        ((patch.depth - 0.5) * back_to_front, patch.down * 0.95 * anatomy.lung_height * pose.inspiration)
        for patch in findings.patches
    ]
    density += 0.55 * patch_density(findings.patches, centers, canvas=canvas, step=HALF, rng=rng)
    hilar = np.exp(-(((x - 0.5) / 5) ** 2) - ((y - 11) / 7) ** 2)
    density += findings.edema * (0.06 + 0.35 * hilar)
    density += 0.25 * sum(findings.volume_loss) * np.clip((y - 0.75 * anatomy.lung_height) / 6, 0, 1)
    mottle = clouds(rng, x.shape, (9, 4, 2))
    tissue = LUNG * (1 - 0.3 * min(anatomy.emphysema, 1)) * (1 + 0.08 * mottle)
    tissue += (0.95 * WATER - LUNG) * np.minimum(density, 1)
    gas = canvas.enlarge(air * (WATER - tissue).astype(np.float32)) * (0.05 + 0.95 * mask)
    fine = canvas.layer()
    _draw_fine(fine, anatomy, findings, canvas)
    total = canvas.enlarge(_trunk(anatomy, canvas)) * np.float32(WATER)
    total -= gas
    total += blur(fine, 0.08 * per_cm) * (gas * np.float32(0.7 * FINE_LEVEL))
    bone = canvas.layer()
    _draw_bones(bone, anatomy, canvas)
    total += blur(bone, 0.09 * per_cm) * np.float32(_BONE_LEVEL * anatomy.bone)
    airway = canvas.layer()
    canvas.stroke(airway, [np.array([[-1.2, -12], [0.2, 2], [1.0, 9]], np.float32)], 70, width_cm=1.6)
    if anatomy.bubble < 0.7:
        canvas.ellipse(
            airway, (-1.0 + 3 * anatomy.bubble, anatomy.lung_height * pose.inspiration + 3.5), (2.6, 1.4), 80
        )
    total -= blur(airway, 0.15 * per_cm) * np.float32(0.004)
    return np.maximum(total, 0)


def _lung_profile(
    anatomy: Anatomy, pose: Pose, findings: Findings, index: int
) -> tuple[Floats, Floats, tuple[float, float], float]:
    """Outline, outline reaching below the dome, posterior recess and dome height of one lung."""
    # Seen from the side the domes lie closer together than their tops do from the front.
    lift = 0.5 * (anatomy.dome_lift[index] - 1.0 * (index == 0))
    dome = anatomy.lung_height * pose.inspiration + lift - 2.5 * findings.volume_loss[index]
    half = 0.42 * anatomy.chest_depth * (1 + 0.1 * anatomy.emphysema)
    bow = 0.7 * anatomy.kyphosis
    shift = 0.5 * index * pose.turn
    front = [
        [-1.5, -0.5],
        [-0.62 * half, 3],
        [-0.92 * half, 10],
        [-1.0 * half, 0.82 * dome],
        [-0.98 * half, dome + 1.2],
    ]
    corner = (0.92 * half + shift, dome + anatomy.recess + 1.2)
    back = [[0.99 * half + bow, 0.6 * dome], [0.92 * half + bow, 0.3 * dome], [0.5 * half, 1.0], [1.0, -0.9]]
    floor = [[-0.45 * half, dome + 0.1], [0.05 * half, dome], [0.5 * half, dome + 1.4]]
    outline = np.concatenate(
        [smooth_curve(front), smooth_curve([front[-1], *floor, corner]), smooth_curve([corner, *back])]
    )
    offset = np.array([shift, 0], np.float32)
    deeper = smooth_curve([*front, [-0.9 * half, dome + 7], [0.95 * half, dome + 9], *back], closed=True)
    return outline + offset, deeper + offset, corner, dome


def _heart(anatomy: Anatomy, findings: Findings, canvas: Canvas) -> Floats:
    """(H/2, W/2) width (cm) of heart and great vessels."""
    tall = anatomy.lung_height
    size = 1 + 0.35 * findings.heart + 1.2 * (anatomy.heart_ratio - 0.45)
    outline = smooth_curve(
        [
            [-0.4, -3],
            [-2.0, 0.2 * tall],
            [-3.6 * size, 0.42 * tall],
            [-6.6 * size, 0.65 * tall],
            [-7.0 * size, 0.9 * tall],
            [-4.5, tall + 1.5],
            [0.8 * size, tall],
            [2.6 * size, 0.75 * tall],
            [2.2, 0.5 * tall],
            [2.6 + 0.6 * anatomy.aortic_knob, 0.3 * tall],
            [1.4, 0.15 * tall],
            [1.2, -3],
        ],
        closed=True,
    )
    return blur(canvas.depth_inside(outline, step=HALF, rim_cm=4.0), 1.5) * np.float32(11)


def _draw_fine(fine: Bytes, anatomy: Anatomy, findings: Findings, canvas: Canvas) -> None:
    tall = anatomy.lung_height
    half = 0.42 * anatomy.chest_depth
    for index in range(len(SIDES)):
        for generation, (width, value) in enumerate(((0.3, 44), (0.18, 36), (0.1, 32))):
            curves = anatomy.vessels[index][generation]
            # From the side the fan of vessels opens both ways; every other branch runs forwards.
            sign = np.where(np.arange(len(curves)) % 2, 1.0, -1.0)[:, None]
            points = np.stack([0.6 + sign * curves[..., 0] * half, curves[..., 1] * tall * 0.97], axis=-1)
            canvas.stroke(fine, points.astype(np.float32), value, width_cm=width)
    for focus in findings.foci:
        center = ((focus.depth - 0.5) * 2 * half, focus.down * 0.95 * tall)
        canvas.ellipse(fine, center, (focus.radius, focus.radius), min(90 * focus.density, 255), width_cm=focus.wall)
    canvas.ellipse(fine, (0.9, 0.47 * tall), (1.7, 2.1), 40)
    canvas.ellipse(fine, (0.9, 0.4 * tall), (0.6, 0.6), 6)


def _trunk(anatomy: Anatomy, canvas: Canvas) -> Floats:
    """(H/4, W/4) side-to-side width (cm) of soft tissue, raised arms and breasts included."""
    _, y = canvas.grid(COARSE)
    half = 0.42 * anatomy.chest_depth
    wall = 1.8 + 2.2 * (anatomy.body_mass - 0.7)
    bow = anatomy.kyphosis
    breast = 2.6 * anatomy.breast
    front = [[-5, -14], [-4.4, -5], [-0.75 * half - wall, 1], [-half - wall, 9], [-half - wall - breast, 15]]
    front += [[-half - wall - 0.3, 21], [-half - wall - 1.5 * (anatomy.body_mass - 1), 40]]
    back = [
        [half + wall + 2, 40],
        [half + wall + 2.4, 22],
        [half + wall + 2.6 + bow, 10],
        [half + wall + 1, 2],
        [7, -14],
    ]
    rounded = canvas.depth_inside(smooth_curve(np.array(front + back), closed=True), step=COARSE, rim_cm=5.0)
    width = 2 * (anatomy.half_width + 0.5 * wall) * np.interp(y, [-12, -4, 2, 8, 25], [0.75, 0.9, 0.98, 0.92, 0.98])
    depth = rounded * width.astype(np.float32)
    arms = smooth_curve([[-13, -16], [-7, -3], [-1, 3], [5, 2], [7, -16]], closed=True)
    depth += canvas.depth_inside(arms, step=COARSE, rim_cm=4.0) * np.float32(5)
    return blur(depth, 1.2)


def _draw_bones(bone: Bytes, anatomy: Anatomy, canvas: Canvas) -> None:
    tall = 2.25 * anatomy.lung_height / 23.0
    half = 0.42 * anatomy.chest_depth
    bow = anatomy.kyphosis
    axis_y = [-14, -4, 3, 10, 18, 26, 40]
    axis_x = [1.5, 2.6, 0.52 * half + 0.5 * bow, 0.72 * half + bow, 0.7 * half + 0.7 * bow, 0.5 * half, 0.3 * half]
    for number in range(9):
        top = -1.0 + 2.25 * number
        start = float(np.interp(top, axis_y, axis_x)) + 1.2
        for slip in (0.0, 0.7):
            drop = 5.0 + 0.5 * number
            path = [[start, top + slip], [start + 1.4, top + 1.6 + slip], [0.3 * half, top + 0.55 * drop + slip]]
            path.append([-0.6 * half, top + drop + 0.8 + slip])
            outline = ribbon(smooth_curve(path), 0.8 * anatomy.rib_width)
            canvas.fill(bone, outline, 34)
            canvas.stroke(bone, [outline], 58)
    for y in np.arange(-14, 40, tall).tolist():
        x = float(np.interp(y, axis_y, axis_x))
        body = np.array([[-1.5, -0.42 * tall], [1.4, -0.4 * tall], [1.4, 0.4 * tall], [-1.5, 0.42 * tall]], np.float32)
        body = body * np.float32(anatomy.scale * np.interp(y, [-10, 25], [0.75, 1.15])) + np.array([x, y], np.float32)
        canvas.fill(bone, body, 130)
        canvas.stroke(bone, [body[:2], body[2:]], 185, width_cm=0.12)
        canvas.stroke(bone, [np.array([[x + 1.6, y], [x + 3.9, y + 1.2]], np.float32)], 95, width_cm=0.8)
    sternum = smooth_curve([[-0.55 * half, 1.5], [-0.9 * half, 7], [-1.08 * half, 15]])
    canvas.fill(bone, ribbon(sternum, 0.9), 80)
    for slip in (0.0, 1.8):
        blade = smooth_curve([[0.75 * half + slip, -1], [0.9 * half + slip, 6], [1.0 * half + slip, 11]])
        canvas.stroke(bone, [blade], 70, width_cm=0.5)
    canvas.ellipse(bone, (1.5, -1.5), (2.4, 2.4), 70)
    canvas.stroke(bone, [np.array([[1.5, -1.5], [-5, -14]], np.float32)], 85, width_cm=2.0)
