import pytest

from shards.sources.words.label import is_blank, listed_findings, value_words


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("Edema|Effusion", ["Edema", "Effusion"]),
        (" Edema | |Effusion ", ["Edema", "Effusion"]),
        ("['pleural effusion ', \"Crohn's\"]", ["pleural effusion", "Crohn's"]),
        ('["a", "b, c"]', ["a", "b, c"]),
        ("['a' 'b']", ["a", "b"]),  # as NumPy prints it
        ("{'a', 'b'}", ["a", "b"]),
        ("('a',)", ["a"]),
        ("[a, b]", ["a", "b"]),
        ("[a|b]", ["a", "b"]),
        ("'a'|'b'", ["a", "b"]),
        ("[]", []),
        ("[ ]", []),
        ("['']", None),
        ("['', 'a']", ["a"]),
        ("No finding", []),
        ("['normal', nan]", ["normal"]),
        ("", None),
        ("nan", None),
        ("[nan]", None),
        ("None", None),
    ],
)
def test_lists(cell, found):
    assert listed_findings(cell, separator="|", negative={"no finding"}) == found


def test_other_separators():
    assert listed_findings("Pneumonia/Viral/COVID-19", separator="/") == ["Pneumonia", "Viral", "COVID-19"]
    assert listed_findings("a;b", separator=";") == ["a", "b"]


def test_own_words():
    words = value_words(["Ja", " pos. "], ["nein"])
    assert (words["ja"], words["pos."], words["nein"], words["yes"], words["-1.0"]) == (1, 1, 0, 1, -1)
    assert is_blank(" NaN ")
    assert not is_blank("0")
