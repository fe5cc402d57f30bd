import pytest

from shards.base.commands import check_arguments
from shards.base.errors import InputError


@pytest.mark.parametrize("again", [["--run-name", "b"], ["--run_name=b"], ["--run-name"]])
def test_an_option_given_twice_is_refused_however_it_is_written(again):
    with pytest.raises(InputError, match=r"--run-name: given twice; give it once, with all its values"):
        check_arguments(["run", "--run-name", "a", "--other", *again])


@pytest.mark.parametrize("empty", [["--input", ""], ["--input="], ["--other", "a", "--input", ""]])
def test_an_empty_value_is_refused(empty):
    with pytest.raises(InputError, match="^--input: the value is empty"):
        check_arguments(["build", *empty, "--output", "b"])


@pytest.mark.parametrize(
    "arguments", [[], ["--label", "a", "a", "-1", "-1"], ["--a.b", "--a.c", "--a"], ["--a=--b", "--b"]]
)
def test_values_may_be_equal_and_options_alike(arguments):
    assert check_arguments(arguments) == arguments
