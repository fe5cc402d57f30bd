"""What a command is given, before tyro reads it."""

from collections.abc import Sequence

from shards.base.errors import InputError


def check_arguments(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments, of which no option is there twice: the last would count and the others be lost in silence. None is
    empty, as ``--input "$UNSET"`` makes it: it would be taken for the working directory.

    Raises:
        InputError: an option is repeated; an empty argument.
    """
    given: set[str] = set()
    before = ""
    for argument in arguments:
        option, sign, value = argument.partition("=")
        if not argument or (argument.startswith("--") and sign and not value):
            raise InputError(f"{option or before}: the value is empty, by a variable that is not set perhaps; give one")
        before = option
        if not argument.startswith("--"):
            continue
        option = option.replace("_", "-")
        if option in given:
            raise InputError(f"{option}: given twice; give it once, with all its values behind it")
        given.add(option)
    return arguments
