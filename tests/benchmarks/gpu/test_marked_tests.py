from benchmarks.gpu.marked_tests import marked_files, read_report
from tests.conftest import ROOT

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="passes"/>
<testcase classname="a" name="skips"><skipped message="no CUDA device"/></testcase>
<testcase classname="a" name="fails"><failure message="off by one">trace</failure></testcase>
<testcase classname="a" name="errors"><error message="no such fixture">trace</error></testcase>
</testsuite></testsuites>"""


def test_the_report_is_counted(tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT)
    counts, words = read_report(tmp_path / "tests.xml")
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert words == ["a::fails: off by one", "a::errors: no such fixture", "skipped: no CUDA device"]


def test_all_files_with_such_tests_are_found():
    """Marks stand in the file, or with the parameters in the conftest beside it."""
    found = marked_files(ROOT / "tests")
    named = {str(path.relative_to(ROOT / "tests")) for path in found}
    assert {
        "pipeline/test_loader.py",
        "train/methods/test_contract.py",
        "pipeline/engines/dali/test_engine.py",
    } <= named
    holders = {path for path in (ROOT / "tests").rglob("*.py") if "mark.gpu" in path.read_text()}
    assert {path for path in holders if path.name != "conftest.py"} <= {*found}
