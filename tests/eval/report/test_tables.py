"""Tables show counts, AUROCs, paired differences, and plainly whether a difference is sure."""

import csv
import dataclasses
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from eval.report.latex import latex_table
from eval.report.tables import csv_table, latex_tables, markdown_tables, render, text_tables
from eval.results.table import Comparison, Exposure
from eval.stats.interval import Interval
from eval.words import MACRO, interval_text, p_text
from shards.base.errors import InputError


@pytest.fixture
def two_labels(comparison: Comparison) -> Comparison:
    rows = [dataclasses.replace(row, label=label) for label in (MACRO, "Finding", "Other_1") for row in comparison.rows]
    test = comparison.test | {"Other_1": comparison.test["Finding"]}
    return dataclasses.replace(comparison, labels=["Finding", "Other_1"], rows=rows, test=test)


def _unbroken(text: str) -> str:
    return " ".join(text.split())


def test_text_table(comparison: Comparison) -> None:
    blocks = text_tables([comparison]).split("\n\n")
    *title, header, rule, one_percent, random, pretrained, _, _, full = blocks[0].splitlines()
    assert " ".join(title) == (
        "made, Finding: AUROC of the linear probe on 200 valid studies (50 positive) of 180 patients; "
        "resnet18 of runs/a"
    )
    assert header.split("  ")[0] == "start"
    assert set(rule) == {"-"}
    assert one_percent == "labelled 1 %; images (positive) ~10 (~2)*"
    for cell in ("random", ".700 [.650, .750]"):
        assert cell in random
    assert "better" not in random
    for cell in ("pretrained", ".800 [.760, .840]", "+.100 [+.070, +.130]", ".020", "better"):
        assert cell in pretrained
    for cell in (".890 [.870, .910]", "-.010 [-.030, +.010]"):
        assert cell in full
    note = " ".join(blocks[1].splitlines())
    assert "up to 2 draws" in note
    assert "2 encoders of random" in note
    assert "997 resamples of test patients" in note
    assert note.endswith("was extended by further patients.")


def test_text_fits_a_terminal_of_80_columns(two_labels: Comparison) -> None:
    text = text_tables([two_labels], subgroups=True)
    assert max(map(len, text.splitlines())) <= 80
    for header in ("minus random [95 % CI]", "p (Holm)", "true positives [95 % CI]", "gap [95 % CI]"):
        assert header in text


def test_columns_of_the_text_table_are_aligned(comparison: Comparison) -> None:
    *_, header, _, _, random, pretrained, _, random_full, full = text_tables([comparison]).split("\n\n")[0].splitlines()
    for line in (random, pretrained, random_full, full):
        assert line[header.index("start") :].startswith(("random", "pretrained"))
        assert line[header.index("AUROC") :].startswith(".")
        assert line[header.index("minus") :][:1] in ("", "+", "-")


def test_several_labels_are_lines_of_one_table(two_labels: Comparison) -> None:
    title, *lines = text_tables([two_labels]).split("\n\n")[0].splitlines()
    assert title.startswith("made, 2 labels: AUROC of the linear probe on up to 200 valid studies")
    named = [line.split(";")[0] for line in lines if line.startswith("label ")]
    assert named == [f"label {MACRO}", "label Finding", "label Other_1"]
    assert f"{MACRO}: the mean over the labels" in text_tables([two_labels])
    assert f"label {MACRO}; labelled 1 %; images (positive) -" in lines
    rows = list(csv.DictReader(io.StringIO(csv_table([two_labels]))))
    assert [row["images"] for row in rows if row["label"] == MACRO] == [""] * len(rows[:: len(two_labels.labels) + 1])


def test_markdown_table_has_equal_columns(comparison: Comparison) -> None:
    lines = [line for line in markdown_tables([comparison, comparison]).splitlines() if line.startswith("|")]
    assert len(lines) == 12
    assert {line.count("|") for line in lines} == {8}
    assert lines[1].replace(" ", "") == "|---" * 7 + "|"


def test_latex_tables(two_labels: Comparison) -> None:
    text = latex_tables([two_labels])
    assert text.count(r"\begin{tabular}{@{}lllll@{}}") == text.count(r"\end{table}") == 1
    assert (
        r"\multicolumn{5}{@{}p{\linewidth}@{}}{\emph{label Other\_1; labelled 1 \%; images (positive) $\sim$10" in text
    )
    assert "[$-$.030, +.010]" in text
    assert "p $<$ 0.05" in text, "which is another sign in LaTeX's text"
    assert "runs/" not in text, "where the runs lie is nothing for a paper"
    assert r"\label{tab:made-2-labels-auroc-of-the-linear-probe}" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {0, 4}
    narrow = render([two_labels], "latex", narrow=True)
    rows = [line for line in narrow.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {0, 2}
    assert any(line.endswith(r"]* \\") for line in rows), "what is sure has a star"
    with pytest.raises(InputError, match="--narrow: goes with --format latex, not text"):
        render([two_labels], "text", narrow=True)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here: apt install texlive-latex-recommended")
def test_latex_compiles(two_labels: Comparison, tmp_path: Path) -> None:
    tables = latex_tables([two_labels], subgroups=True) + latex_tables([two_labels], narrow=True)
    row = ["[x]", r"< > ~ ^ \ { } # $ % & _ | -.1 Grün"]
    tables += latex_table(["[a]", "b"], [row], caption="c", title="t", note="n", label="l")
    columns = latex_tables([two_labels], narrow=True)
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}\listoftables"
    last = rf"\setlength{{\columnwidth}}{{252pt}}\hsize=252pt\linewidth=252pt {columns} \end{{document}}"
    (tmp_path / "a.tex").write_text(f"{head} {tables} {last}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    for _ in range(2):
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert made.returncode == 0, made.stdout[-2000:]
    log = (tmp_path / "a.log").read_text()
    assert "Missing character" not in log
    assert "Overfull" not in log, "tables fit the page"


def test_csv_holds_every_number(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table([comparison]))))
    assert len(rows) == len(comparison.rows)
    assert rows[0]["difference"] == rows[0]["p_holm"] == ""
    assert (rows[1]["start"], float(rows[1]["auroc_low"]), float(rows[1]["p_delong"])) == ("pretrained", 0.76, 0.012)
    assert float(rows[1]["images"]) == 10
    assert rows[1]["extended"] == "True"
    assert all(float(row["ece"]) == 0.03 for row in rows)


def test_another_metric_is_named_and_has_no_verdict(comparison: Comparison) -> None:
    text = render([comparison], "text", metric="sensitivity")
    assert "sensitivity at 90 % specificity of the linear probe" in text
    assert ".500 [.400, .600]" in text
    assert "p (Holm)" not in text


def test_several_comparisons_share_one_note(comparison: Comparison) -> None:
    text = text_tables([comparison, dataclasses.replace(comparison, dataset="other")])
    assert text.count("AUROC of the linear probe") == 2
    assert text.count("better, worse:") == 1


def test_encoders_of_one_start_and_images_seen_are_told(comparison: Comparison) -> None:
    text = _unbroken(text_tables([comparison]))
    assert "lies apart by up to: random .020." in text
    assert "Caution" not in text
    starts = comparison.starts | {"pretrained": dataclasses.replace(comparison.starts["pretrained"], num_seen=1200)}
    draws = [dataclasses.replace(draw, auroc=[0.7, 0.75]) for draw in comparison.rows[0].draws]
    rows = [dataclasses.replace(comparison.rows[0], draws=draws), *comparison.rows[1:]]
    text = _unbroken(text_tables([dataclasses.replace(comparison, starts=starts, rows=rows)]))
    assert "lies apart by up to: random .050." in text
    assert "Caution: pretraining of pretrained took images of the splits that 1,200 test images of made are in" in text


def test_pictures_that_are_trained_on_too_are_told(comparison: Comparison) -> None:
    text = _unbroken(text_tables([dataclasses.replace(comparison, num_repeated=1784)]))
    assert "Caution: 1,784 test images of made show pictures that training images show too" in text


@pytest.mark.parametrize(
    ("num_images", "num_patients", "said"),
    [
        (
            120,
            30,
            "Caution: pretraining of pretrained saw 120 of the 480 (25.0%) test images of made, and images of 30 of",
        ),
        (
            0,
            3,
            "saw 0 of the 480 (0.0%) test images of made, and images of 3 of the 60 (5.0%) test patients; its figures",
        ),
        (
            0,
            0,
            "Pretraining of pretrained saw none of the 480 test images of made, and no other image of their 60 patie",
        ),
    ],
)
def test_shares_of_the_test_set_that_pretraining_saw_are_told(
    comparison: Comparison, num_images: int, num_patients: int, said: str
) -> None:
    exposure = Exposure(num_images=num_images, num_patients=num_patients, of_images=480, of_patients=60)
    start = dataclasses.replace(comparison.starts["pretrained"], exposure=exposure, num_seen=num_images)
    text = _unbroken(text_tables([dataclasses.replace(comparison, starts=comparison.starts | {"pretrained": start})]))
    assert said in text
    assert text.count("retraining of") == 1


def test_one_start_has_no_columns_of_differences(comparison: Comparison) -> None:
    alone = dataclasses.replace(comparison, rows=[row for row in comparison.rows if row.difference is None])
    text = text_tables([alone])
    assert "minus" not in text
    assert "better" not in text
    assert ".700 [.650, .750]" in text


def test_subgroups_are_a_table_on_request(comparison: Comparison) -> None:
    assert "sex F" not in text_tables([comparison])
    text = text_tables([comparison], subgroups=True)
    assert "made: AUROC in groups of the test set" in text
    assert (
        "label Finding; readout linear; labelled 100 %; group sex F; studies (positive) 90 (20) pretrained"
        in _unbroken(text)
    )
    assert "- (3 positive studies, under 10)" in text
    assert "| sex F |" in render([comparison], "markdown", subgroups=True)


def test_published_resamples_studies(comparison: Comparison) -> None:
    published = dataclasses.replace(comparison, protocol=comparison.protocol | {"name": "published"})
    assert "resamples of test studies" in text_tables([published])


def test_limits_print_in_full() -> None:
    assert interval_text(Interval(estimate=1.0, low=0.99999, high=1.0)) == "1.000 [1.000, 1.000]"
    assert interval_text(Interval(estimate=0.0, low=-0.2, high=0.1), sign="+") == "+.000 [-.200, +.100]"
    assert [p_text(value) for value in (0.0, 0.0021, 1.0)] == ["<.001", ".002", "1.000"]


def test_gaps_stand_beneath_the_subgroups(comparison: Comparison) -> None:
    text = text_tables([comparison], subgroups=True)
    (line,) = [line.split("  ") for line in text.splitlines() if ".250" in line]
    assert [cell.strip() for cell in line if cell][-5:] == [
        "sex",
        "true positives",
        "M",
        "F",
        ".250 [-.050, .550]",
    ]
    assert "at the threshold that 90 % of the negative validation studies stay under" in _unbroken(text)
    assert "gaps between" not in text_tables([dataclasses.replace(comparison, gaps=[])], subgroups=True)
    assert "gaps between" not in text_tables([comparison])
