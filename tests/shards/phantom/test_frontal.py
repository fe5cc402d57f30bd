"""Where findings show in a radiograph: fluid at its costophrenic angle, tuberculosis in the upper zones."""

import numpy as np
import pytest

from shards.phantom.anatomy import Anatomy, Pose, draw_anatomy, draw_pose
from shards.phantom.canvas import Canvas
from shards.phantom.findings import Findings, chexpert_findings, tuberculosis_findings
from shards.phantom.frontal import frontal_attenuation, posed_lungs
from shards.phantom.lateral import lateral_attenuation
from shards.phantom.radiograph import random_generator, take_radiograph

CANVAS = Canvas(height=160, width=200, matrix=np.array([[5, 0, 100], [0, 5, 25]], np.float32))


@pytest.fixture(scope="module")
def patient() -> Anatomy:
    return draw_anatomy(np.random.default_rng(4), sex="Male", age=50)


@pytest.fixture(scope="module")
def upright() -> Pose:
    return draw_pose(np.random.default_rng(5), "PA")


def _around(field: np.ndarray, x: float, y: float, reach: int = 5) -> float:
    column, row = (int(v) for v in CANVAS.matrix[:, :2] @ np.array([x, y]) + CANVAS.matrix[:, 2])
    return float(np.abs(field[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]).mean())


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("extent", [0.05, 0.35])
def test_effusion_fills_its_own_angle_and_leaves_the_opposite_apex(
    patient: Anatomy, upright: Pose, side: int, extent: float
) -> None:
    amounts = (extent, 0.0) if side == 0 else (0.0, extent)
    healthy, ill = (
        frontal_attenuation(patient, upright, findings, canvas=CANVAS, rng=np.random.default_rng(6))
        for findings in (Findings(), Findings(effusion=amounts))
    )
    change = ill - healthy
    lungs = posed_lungs(patient, upright, Findings())
    corner_x, corner_y = lungs[side].angle
    apex_x, apex_y = lungs[1 - side].place(np.array([0.5, 0.1]))
    assert _around(change, corner_x - 0.8 * lungs[side].side, corner_y - 1.5) > 0.05
    assert _around(change, float(apex_x), float(apex_y)) < 1e-5


def test_more_fluid_attenuates_more(patient: Anatomy, upright: Pose) -> None:
    totals = [
        frontal_attenuation(
            patient, upright, Findings(effusion=(0, extent)), canvas=CANVAS, rng=np.random.default_rng(6)
        ).sum()
        for extent in (0.0, 0.05, 0.2, 0.4)
    ]
    assert totals == sorted(totals)
    assert len(set(totals)) == 4


def test_effusion_shows_in_the_lateral_behind(patient: Anatomy, upright: Pose) -> None:
    healthy, ill = (
        lateral_attenuation(patient, upright, findings, canvas=CANVAS, rng=np.random.default_rng(6))
        for findings in (Findings(), Findings(effusion=(0.4, 0.4)))
    )
    change = ill - healthy
    assert _around(change, 0.38 * patient.chest_depth, patient.lung_height) > 0.1
    assert _around(change, 0.0, 2.0) < 1e-5


def test_tuberculosis_lies_mostly_in_the_upper_zones() -> None:
    rng = np.random.default_rng(0)
    cases = [tuberculosis_findings(rng, severity) for severity in rng.uniform(0.01, 1, 200)]
    assert np.mean([patch.down < 0.5 for case in cases for patch in case.patches]) > 0.7
    assert 0.1 < np.mean([any(focus.wall > 0 for focus in case.foci) for case in cases]) < 0.7
    assert 0.05 < np.mean([max(case.effusion) > 0 for case in cases]) < 0.35


def test_healthy_severities_give_no_findings() -> None:
    absent = {"Pleural Effusion": 0.0, "Edema": 0.0, "Support Devices": 0.0}
    assert chexpert_findings(np.random.default_rng(0), absent) == Findings()


def test_findings_stay_on_their_side_through_the_course() -> None:
    course = [chexpert_findings(random_generator(3), {"Pleural Effusion": level}).effusion for level in (0.2, 0.9)]
    assert [amount > 0 for amount in course[0]] == [amount > 0 for amount in course[1]]
    assert max(course[0]) < max(course[1])


@pytest.mark.parametrize("projection", ["PA", "AP", "LL"])
def test_pictures_use_the_gray_scale_and_keep_no_nans(patient: Anatomy, projection: str) -> None:
    rng = np.random.default_rng(7)
    picture = take_radiograph(patient, Findings(), projection=projection, height=96, width=112, rng=rng)
    assert picture.shape == (96, 112)
    assert picture.dtype == np.uint8
    low, high = np.percentile(picture, [2, 98])
    assert high - low > 80
