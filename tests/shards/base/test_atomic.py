import pytest

from shards.base.atomic import written_aside


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with written_aside(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def interrupted():
        with written_aside(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "a.txt"
    with written_aside(path) as one:
        one.write(b"one, unfinished")
        with written_aside(path) as two:
            two.write(b"two")
        assert path.read_bytes() == b"two"
        one.write(b" and done")
    assert path.read_bytes() == b"one, unfinished and done"


def test_another_folder_for_the_unfinished_file(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    with written_aside(tmp_path / "a.txt", folder=work) as file:
        file.write(b"new")
        assert [path.suffix for path in work.iterdir()] == [".part"]
    assert not list(work.iterdir())
