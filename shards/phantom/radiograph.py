"""One phantom radiograph from patient to pixels: pose, field of view, attenuation, exposure, shutters, marker."""

import numpy as np

from shards.phantom.anatomy import Anatomy, draw_pose
from shards.phantom.canvas import Bytes, Canvas
from shards.phantom.film import burn_marker, collimate, draw_exposure, expose
from shards.phantom.findings import Findings
from shards.phantom.frontal import frontal_attenuation
from shards.phantom.lateral import lateral_attenuation

LATERAL = "LL"


def random_generator(seed: int, *address: int) -> np.random.Generator:
    """The generator at an address (dataset, patient, study, ...): the same whatever was drawn before it elsewhere."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=address)))


def take_radiograph(
    anatomy: Anatomy,
    findings: Findings,
    *,
    projection: str,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> Bytes:
    """(H, W) uint8 picture of a patient; ``projection`` is ``PA``, ``AP`` or ``LL`` (lateral)."""
    pose = draw_pose(rng, projection)
    portable = projection == "AP"
    canvas = _frame(anatomy, height=height, width=width, loose=portable, lateral=projection == LATERAL, rng=rng)
    draw = lateral_attenuation if projection == LATERAL else frontal_attenuation
    attenuation = draw(anatomy, pose, findings, canvas=canvas, rng=rng)
    picture = expose(attenuation, draw_exposure(rng, projection), canvas=canvas, rng=rng)
    collimate(picture, rng=rng)
    burn_marker(picture, projection=projection, rng=rng)
    return picture


def _frame(
    anatomy: Anatomy, *, height: int, width: int, loose: bool, lateral: bool, rng: np.random.Generator
) -> Canvas:
    """Places the field: about 33 x 40 cm of an adult fills it, a little zoomed, shifted and turned."""
    # The film fits the chest: a large patient fills no more of it than a small one does, up to the film's size.
    fit = (anatomy.lung_height / 23.0 * anatomy.half_width / 12.8) ** 0.35
    short = (31.0 if lateral else 33.0) * fit * np.exp(rng.normal(0, 0.075 if loose else 0.05))
    scale = min(height, width) / short
    turn = np.deg2rad(rng.normal(0, 2.6 if loose else 1.1))
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    spread = 1.5 if loose else 0.7
    middle = np.array([rng.normal(0, spread), 0.52 * anatomy.lung_height + rng.normal(0, spread)])
    linear = np.array([[cosine, -sine], [sine, cosine]])
    offset = np.array([width / 2, height / 2]) - linear @ middle
    return Canvas(height=height, width=width, matrix=np.column_stack([linear, offset]).astype(np.float32))
