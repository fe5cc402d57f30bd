import subprocess

import pytest

from benchmarks.measuring import machine


def _git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "code.py").write_text("1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_commit_is_marked_where_files_differ_from_it(repository):
    clean = machine._commit(repository / "benchmarks")
    assert len(clean) == 40
    (repository / "benchmarks" / "results" / "new.json").write_text("{}")
    assert machine._commit(repository / "benchmarks") == clean, "results do not change what was measured"
    (repository / "benchmarks" / "code.py").write_text("2")
    assert machine._commit(repository / "benchmarks") == f"{clean}+changes"


def test_without_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine._commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine._commit(tmp_path) is None, "nor is git needed"


def test_environment_that_changes_timings_is_told_and_nothing_else(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("HOSTNAME", "somewhere")
    found = machine.describe_machine("cpu")
    assert found["environment"]["OMP_NUM_THREADS"] == "3"
    assert "SECRET_TOKEN" not in found["environment"]
    assert "somewhere" not in str(found)
