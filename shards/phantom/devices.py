"""What hospital patients have on and in them: leads, lines, tubes, pacemakers, wires of a mended breastbone."""

import numpy as np

from shards.phantom.anatomy import Lung, Pose
from shards.phantom.canvas import Bytes, Canvas, Floats, blur, smooth_curve
from shards.phantom.findings import Findings

# One level of the device layer, in nepers: metal saturates it, plastic takes a fifth.
_LEVEL = 0.009


def draw_devices(
    lungs: tuple[Lung, Lung], findings: Findings, pose: Pose, *, canvas: Canvas, rng: np.random.Generator
) -> Floats | float:
    """(H, W) attenuation of the devices, 0 where the patient has none.

    Leads also lie on patients whose reports mention no device, and more often on portables: they are no proof.
    """
    layer = canvas.layer()
    dome, wide = lungs[0].dome, float(lungs[0].lateral.max())
    drawn = False
    if rng.random() < (0.4 if pose.projection == "AP" else 0.02) + 0.25 * (findings.devices > 0):
        drawn = True
        for _ in range(int(rng.integers(2, 5))):
            x, y = rng.uniform(-0.9, 0.9) * wide, rng.uniform(0.05, 1.15) * dome
            canvas.ellipse(layer, (x, y), (0.75, 0.75), 22)
            canvas.ellipse(layer, (x, y), (0.32, 0.32), 130)
            exit_x, exit_y = rng.uniform(-1.3, 1.3) * wide, rng.choice([-6.0, dome + 10])
            bend = [0.5 * (x + exit_x) + rng.normal(0, 3), 0.5 * (y + exit_y) + rng.normal(0, 2)]
            canvas.stroke(layer, [smooth_curve([[x, y], bend, [exit_x, exit_y]])], 42)
    if findings.devices > 0:
        drawn = True
        kinds = ["line", "tube", "stomach", "pacemaker", "port", "wires"]
        shares = np.array([0.4, 0.2, 0.15, 0.14, 0.08, 0.12])
        if pose.projection == "PA":
            shares = np.array([0.25, 0.0, 0.03, 0.35, 0.22, 0.25])
        num = 1 + int(rng.poisson(1.3 * findings.devices))
        shares = shares / shares.sum()
        num = min(num, int((shares > 0).sum()))
        for kind in rng.choice(kinds, size=num, replace=False, p=shares):
            _draw_device(str(kind), layer, lungs, canvas, rng)
    for lung, air, fluid in zip(lungs, findings.pneumothorax, findings.effusion, strict=True):
        if (air > 0.15 and rng.random() < 0.5) or (fluid > 0.4 and rng.random() < 0.12):
            drawn = True
            entry = lung.place(np.array([1.25, 0.75]))
            rising = air > 0.15
            tip = lung.place(np.array([0.6, 0.12 if rising else 0.85]))
            middle = lung.place(np.array([0.93, 0.5 if rising else 0.8]))
            canvas.stroke(layer, [smooth_curve(np.stack([entry, middle, tip]))], 30, width_cm=0.6)
            canvas.stroke(layer, [smooth_curve(np.stack([entry, middle, tip]))], 75)
    if not drawn:
        return 0.0
    return blur(layer, 0.045 * canvas.pixels_per_cm) * np.float32(_LEVEL)


def _draw_device(kind: str, layer: Bytes, lungs: tuple[Lung, Lung], canvas: Canvas, rng: np.random.Generator) -> None:
    dome = lungs[0].dome
    jitter = rng.normal(0, 0.3, (6, 2)).astype(np.float32)
    atrium = [-2.6, 0.55 * dome]
    if kind == "line":
        start = [[-5.0, -8.0], [-3.5, -1.0]] if rng.random() < 0.6 else [[-15.0, 4.0], [-8.0, 0.5]]
        if rng.random() < 0.3:
            start = [[9.0, -2.0], [4.0, 2.0], [0.5, 4.0]]
        knots = np.array([*start, [-2.6, 0.25 * dome], [-2.5, (0.3 + 0.25 * rng.random()) * dome]], np.float32)
        canvas.stroke(layer, [smooth_curve(knots + jitter[: len(knots)])], 50, width_cm=0.16)
    elif kind == "tube":
        tip = dome * rng.uniform(0.12, 0.32)
        for offset in (-0.35, 0.35):
            canvas.stroke(layer, [np.array([[offset, -14], [offset, tip]], np.float32)], 22)
        canvas.stroke(layer, [np.array([[0.3, -14], [0.3, tip]], np.float32)], 55)
    elif kind == "stomach":
        knots = np.array(
            [[0.3, -14], [0.5, 0.3 * dome], [0.8, 0.8 * dome], [2.5, dome + 2], [6.0, dome + 5]], np.float32
        )
        canvas.stroke(layer, [smooth_curve(knots + jitter[:5] * 0.5)], 45, width_cm=0.2)
    elif kind == "pacemaker":
        side = -1 if rng.random() < 0.2 else 1
        box = np.array([side * rng.uniform(8, 10), rng.uniform(2.5, 5)], np.float32)
        canvas.ellipse(layer, (float(box[0]), float(box[1])), (2.3, 2.0), 150)
        canvas.ellipse(layer, (float(box[0]), float(box[1])), (1.6, 1.2), 220)
        for lead_end in ([4.5, dome - 1.0], [-2.2, 0.68 * dome])[: 1 + int(rng.random() < 0.6)]:
            knots = np.array([box, [side * 6.0, 1.0], [-1.0, 3.0], atrium, lead_end], np.float32)
            canvas.stroke(layer, [smooth_curve(knots + jitter[:5] * 0.6)], 85, width_cm=0.12)
    elif kind == "port":
        side = -1 if rng.random() < 0.7 else 1
        box = np.array([side * 7.5, 5.0], np.float32) + jitter[0] * 3
        canvas.ellipse(layer, (float(box[0]), float(box[1])), (1.2, 1.2), 90)
        canvas.ellipse(layer, (float(box[0]), float(box[1])), (0.6, 0.6), 50)
        knots = np.array([box, [side * 4.5, 0.5], [-2.4, 0.22 * dome], atrium], np.float32)
        canvas.stroke(layer, [smooth_curve(knots)], 50, width_cm=0.16)
    else:
        for height in (np.linspace(0.2, 0.75, 6) * dome).tolist():
            canvas.ellipse(layer, (0.4 + float(jitter[0, 0]), height), (0.45, 0.35), 150, width_cm=0.1)
