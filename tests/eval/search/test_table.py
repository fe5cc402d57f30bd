from pathlib import Path

from eval.search.config import SearchConfig
from eval.search.probe import Gain
from eval.search.state import Standing
from eval.search.table import standings_text, write_page

STANDINGS = (
    Standing(
        candidate="a<b",
        rung=1,
        epochs=2,
        seconds=90.0,
        gain=Gain(mean=0.03, error=0.01, of_labels=(0.06, 0.0)),
        goes_on=True,
    ),
    Standing(candidate="c", rung=1, epochs=0, seconds=0.0, gain=None, problem="loss is not finite"),
)


def search(folder: Path, *labels: str) -> SearchConfig:
    return SearchConfig(data=("data",), label=labels, recipes=("debug",), images=960, output=folder)


def test_the_page_has_gains_by_task_and_draws_them(tmp_path: Path) -> None:
    page = write_page(STANDINGS, search(tmp_path, "Edema", "Effusion")).read_text()
    first, second = page[page.index("<table>") :].split("<tr>")[2:]
    assert first.startswith("<td>+0.0300</td><td><svg")
    assert "<td>a&lt;b</td><td>+0.0600</td><td>+0.0000</td><td>2</td><td>2</td><td>1.5</td><td>yes</td>" in first
    assert "cx=125.0" in first, "three fifths of the way from the middle, 80, to the edge, 155"
    assert second.startswith("<td>loss is not finite</td>")
    assert "<svg" not in second


def test_of_one_task_the_gain_stands_once(tmp_path: Path) -> None:
    one = Standing(candidate="a", rung=0, epochs=1, seconds=6.0, gain=Gain(mean=0.03, error=0.01, of_labels=(0.03,)))
    assert write_page([one], search(tmp_path, "Edema")).read_text().count("+0.0300") == 1


def test_the_terminal_has_the_mean() -> None:
    said = standings_text(STANDINGS)
    assert "+0.0300" in said
    assert "+0.0600" not in said
    assert max(map(len, said.splitlines())) <= 80
