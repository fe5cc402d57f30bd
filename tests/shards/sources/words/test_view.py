import pytest

from shards.sources.words.view import parse_view


@pytest.mark.parametrize(
    ("text", "view", "projection"),
    [
        ("PA", "frontal", "PA"),
        ("ap", "frontal", "AP"),
        ("AP AXIAL", "frontal", "AP AXIAL"),
        ("Frontal", "frontal", None),
        ("LATERAL", "lateral", None),
        ("Lateral", "lateral", None),
        ("LL", "lateral", "LL"),
        ("LEFT LATERAL", "lateral", "LEFT LATERAL"),
        ("LAO", None, "LAO"),
        ("", None, None),
        ("nan", None, None),
        ("L", "lateral", "L"),
        ("AP_horizontal", "frontal", "AP_HORIZONTAL"),
        ("POSTEROANTERIOR", "frontal", "PA"),
        ("Antero-posterior", "frontal", "AP"),
        ("COSTAL", None, "COSTAL"),
        ("AP Supine", "frontal", "AP SUPINE"),
        ("AP semi erect", "frontal", "AP SEMI ERECT"),
        ("Chest PA", "frontal", "PA"),
        ("W033 Chest p.a.", "frontal", "PA"),
        ("portable_AP", "frontal", "AP"),
        ("A/P", "frontal", "AP"),
        ("LLAT", "lateral", "LLAT"),
        ("Lat.", "lateral", "LAT."),
        ("Chest Lat", "lateral", "CHEST LAT"),
        ("Thorax seitlich", "lateral", "THORAX SEITLICH"),
        ("XTABLE LATERAL", "lateral", "XTABLE LATERAL"),
        ("PA LLD", "frontal", "PA LLD"),
        ("AP LATERAL DECUBITUS", "frontal", "AP LATERAL DECUBITUS"),
        ("PA and lateral", None, "PA AND LATERAL"),
        ("Axial", None, "AXIAL"),
        ("UNK", None, "UNK"),
        ("Lung apex", None, "LUNG APEX"),
    ],
)
def test_views(text, view, projection):
    assert parse_view(text) == (view, projection)
