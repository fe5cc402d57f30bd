"""From attenuation to pixels: scatter, detector, noise, automatic exposure and the film's response."""

from dataclasses import dataclass

import cv2
import numpy as np

from shards.phantom.canvas import Bytes, Canvas, Floats, blur

_CURVE_STEPS = 4096


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One exposure and its processing.

    ``scatter``: scattered over mean primary radiation. ``photons``: quanta a pixel in the open beam (noise).
    ``sharpness``: detector blur in pixels. ``equalise``: share of the slow variation that processing removes, negative
    boosts it. ``window``: contrast, ``center``: brightness of the display curve, ``gamma`` its shape.
    """

    scatter: float
    photons: float
    sharpness: float
    equalise: float
    window: float
    center: float
    gamma: float


def draw_exposure(rng: np.random.Generator, projection: str) -> Exposure:
    """Draws an exposure; portable films scatter more (no grid), are noisier and less sharp."""
    portable = projection == "AP"
    return Exposure(
        scatter=float(rng.uniform(0.25, 0.6) if portable else rng.uniform(0.06, 0.2)),
        photons=float(np.exp(rng.normal(10.9 if portable else 11.5, 0.5))),
        sharpness=float(rng.uniform(0.6, 1.15) if portable else rng.uniform(0.45, 0.8)),
        equalise=float(rng.uniform(0.0, 0.45)),
        window=float(np.exp(rng.normal(0.12, 0.22))),
        center=float(rng.normal(0.0, 0.28)),
        gamma=float(np.exp(rng.normal(0.0, 0.15))),
    )


def expose(attenuation: Floats, exposure: Exposure, *, canvas: Canvas, rng: np.random.Generator) -> Bytes:
    """(H, W) attenuation in nepers to 8-bit pixels, bright where little radiation passed.

    Radiation that passes is ``exp(-attenuation)``; scatter adds a veil, the detector blurs and counts quanta, and
    the processing sets its window on the exposed field, so overall brightness says little about the patient.
    """
    zoom = canvas.pixels_per_cm / 9.0
    passed = cv2.exp(-attenuation)
    small = cv2.resize(passed, (canvas.width // 8, canvas.height // 8), interpolation=cv2.INTER_AREA)
    # The open beam scatters nothing, so it is held down to what passes through lung before spreading.
    veil = blur(np.minimum(small, 0.12), 5 * zoom)
    passed += canvas.enlarge(veil * np.float32(exposure.scatter))
    passed = blur(passed, exposure.sharpness * max(zoom, 1))
    # The quanta's noise is Poisson; at these counts a normal draw of the same spread cannot be told from it.
    noise = rng.standard_normal(passed.shape, dtype=np.float32)
    passed += noise * cv2.sqrt(passed * np.float32(1 / exposure.photons))
    density = -cv2.log(np.maximum(passed, 1e-4))
    slow = cv2.resize(density, (canvas.width // 8, canvas.height // 8), interpolation=cv2.INTER_AREA)
    inside = slow[slow > 0.6]
    low, high = np.percentile(inside if inside.size > 50 else slow, [6, 94])
    if abs(exposure.equalise) > 0.02:
        wide = np.clip(blur(slow, 6 * zoom), low - 0.5, high)
        density -= canvas.enlarge(np.float32(exposure.equalise) * (wide - np.float32((low + high) / 2)))
        spread = (high - low) * (1 - 0.75 * exposure.equalise)
        low, high = (low + high - spread) / 2, (low + high + spread) / 2
    middle = (low + high) / 2 + exposure.center * (high - low) * 0.5
    half = max(high - low, 0.5) / exposure.window * 0.75
    steps = np.linspace(-4, 4, _CURVE_STEPS)
    curve = 1 / (1 + np.exp(-2.1 * steps))
    table = np.rint(255 * curve**exposure.gamma).astype(np.uint8)
    index = density * np.float32((_CURVE_STEPS / 8) / half) + np.float32(
        _CURVE_STEPS / 2 - middle * (_CURVE_STEPS / 8) / half
    )
    return table[np.clip(index, 0, _CURVE_STEPS - 1).astype(np.int16)]


def collimate(image: Bytes, *, rng: np.random.Generator) -> None:
    """Darkens the rim outside the shutters, in place: sometimes, on one to four sides, a little askew."""
    if rng.random() < 0.55:
        return
    height, width = image.shape
    mask = np.full_like(image, 255)
    for edge in range(4):
        if rng.random() < 0.45:
            depth, skew = rng.uniform(0.005, 0.05), rng.normal(0, 0.006)
            ends = (depth + skew, depth - skew)
            if edge < 2:
                rows = [end * height if edge == 0 else height - end * height for end in ends]
                rim = 0 if edge == 0 else height
                corners = [(0, rim), (0, rows[0]), (width, rows[1]), (width, rim)]
            else:
                columns = [end * width if edge == 2 else width - end * width for end in ends]
                rim = 0 if edge == 2 else width
                corners = [(rim, 0), (columns[0], 0), (columns[1], height), (rim, height)]
            cv2.fillPoly(mask, [np.rint(np.array(corners) * 16).astype(np.int32)], 0, cv2.LINE_AA, 4)
    level = int(rng.integers(0, 25))
    np.minimum(image, np.maximum(mask, level), out=image)


def burn_marker(image: Bytes, *, projection: str, rng: np.random.Generator) -> None:
    """Burns the side letter and, for portables, some words into the picture, in place."""
    height, width = image.shape
    unit = min(height, width) / 320
    letter = "L" if rng.random() < 0.75 else "R"
    left = letter == "R"
    x = int(width * (rng.uniform(0.02, 0.12) if left else rng.uniform(0.85, 0.94)))
    y = int(height * rng.uniform(0.06, 0.2))
    scale = unit * rng.uniform(0.38, 0.6)
    tone = int(rng.integers(200, 256))
    style = rng.integers(3)
    if style == 1:
        cv2.circle(image, (x + int(9 * scale), y - int(10 * scale)), int(18 * scale), tone, 1, cv2.LINE_AA)
    elif style == 2:
        corner = (x - int(5 * scale), y - int(27 * scale)), (x + int(23 * scale), y + int(7 * scale))
        cv2.rectangle(image, *corner, int(rng.integers(150, 220)), -1)
        tone = 255
    cv2.putText(image, letter, (x, y), cv2.FONT_HERSHEY_DUPLEX, scale, tone, max(1, round(unit)), cv2.LINE_AA)
    if rng.random() < (0.55 if projection == "AP" else 0.08):
        words = ["PORTABLE", "AP", "SEMI-ERECT", "SUPINE", "ERECT"] if projection == "AP" else ["PA", "ERECT"]
        for line, word in enumerate(rng.permutation(words)[: int(rng.integers(1, 3))]):
            spot = (int(width * rng.uniform(0.02, 0.2)), int(height * (0.05 + 0.05 * line) + 4 * unit))
            cv2.putText(
                image, str(word), spot, cv2.FONT_HERSHEY_SIMPLEX, 0.33 * unit, tone, max(1, round(unit)), cv2.LINE_AA
            )
