import pytest

from shards.base.arguments import each_once
from shards.base.errors import InputError


@pytest.mark.parametrize("again", [["--run-name", "b"], ["--run_name=b"], ["--run-name"]])
def test_an_option_given_twice_is_refused_however_it_is_written(again):
    with pytest.raises(InputError, match=r"--run-name: given twice; give it once, with all its values"):
        each_once(["run", "--run-name", "a", "--other", *again])


@pytest.mark.parametrize(
    "arguments", [[], ["--label", "a", "a", "-1", "-1"], ["--a.b", "--a.c", "--a"], ["--a=--b", "--b"]]
)
def test_values_may_be_equal_and_options_alike(arguments):
    assert each_once(arguments) == arguments
