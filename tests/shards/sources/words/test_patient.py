import pytest

from shards.sources.words.patient import parse_age, parse_patient, parse_sex


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("58", 58),
        ("058Y", 58),
        ("010M", 10 / 12),
        ("002W", 14 / 365.25),
        ("004D", 4 / 365.25),
        ("0", 0),
        ("33.5", 33.5),
        (" 45 years ", 45),
        ("45,5", 45.5),
        ("414", None),
        ("", None),
        ("Y", None),
        ("-3", None),
    ],
)
def test_ages(text, years):
    assert parse_age(text) == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize(
    ("text", "sex"),
    [("Male", "M"), ("f", "F"), ("w", "F"), ("weiblich", "F"), ("O", None), ("Unknown", None), ("", None)],
)
def test_sexes(text, sex):
    assert parse_sex(text) == sex


@pytest.mark.parametrize("text", ["", "nan", "None", "N/A", "-", "???", "Unknown", "ANONYMOUS", "anonymized"])
def test_nobody_is_no_patient(text):
    assert parse_patient(text) == ""


@pytest.mark.parametrize(
    ("text", "patient"), [("007", "007"), (" 12 ", "12"), ("123.0", "123"), ("1.5", "1.5"), ("0", "0"), ("-1", "-1")]
)
def test_patients(text, patient):
    assert parse_patient(text) == patient
