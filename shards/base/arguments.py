"""What a command is given, before tyro reads it."""

from collections.abc import Sequence

from shards.base.errors import InputError


def each_once(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments, of which no option is there twice: the last would count and the others be lost in silence.

    Raises:
        InputError: an option is repeated.
    """
    given: set[str] = set()
    for argument in arguments:
        if not argument.startswith("--"):
            continue
        option = argument.partition("=")[0].replace("_", "-")
        if option in given:
            raise InputError(f"{option}: given twice; give it once, with all its values behind it")
        given.add(option)
    return arguments
