from benchmarks.measuring.columns import tabulate


def test_figures_stand_below_their_headers_and_long_names_above_their_figures():
    name = "a name of several words that is longer than the column that the figures leave to it"
    rows = [("caption",), ("short", "1.00", "12-13"), (name, "22.0", "")]
    lines = list(tabulate(("variant", "times\nas fast", "quartiles"), rows))
    assert lines[1].split() == ["variant", "as", "fast", "quartiles"]
    assert lines[0].rstrip().endswith("times")
    assert len(lines[0]) == lines[1].index("quartiles") - 2
    assert lines[2] == "caption"
    assert lines[3].split() == ["short", "1.00", "12-13"]
    assert lines[3].index("1.00") + 4 == len(lines[0])
    assert " ".join(" ".join(lines[4:-1]).split()) == name, "nothing is cut off"
    assert lines[-1].split() == ["22.0"]
    assert len(lines[-1]) == len(lines[0])
    assert max(map(len, lines)) <= 80


def test_cells_never_touch_and_what_has_no_room_comes_below():
    header = ["variant", *(f"column {number}" for number in range(9))]
    rows = [[f"variant {row}", *(f"{row}{number}345.789-987" for number in range(9))] for row in range(2)]
    lines = list(tabulate(header, rows))
    assert max(map(len, lines)) <= 80
    for row in rows:
        assert [cell for line in lines if row[0] in line for cell in line.split()[2:]] == row[1:]
