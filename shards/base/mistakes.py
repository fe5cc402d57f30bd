"""Mistakes in a command line, one line each, where tyro draws a frame; and all that a command line can hold."""

import ast
import contextlib
import difflib
import io
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from shards.base.errors import InputError

_NUMBERS = {"INT": "a whole number", "FLOAT": "a number"}
_OR_NONE = re.compile(r"\{None(?:\}\||,)")
_TITLE = re.compile(r"^( ?|╭─ )([\w.-]+) options (─*)", re.MULTILINE)
_LITERAL = re.compile(r"(?<=COMPLETION_SPEC = )\{.*\}$", re.MULTILINE)
_BELOW_ALL = re.compile(r"-(inf|infinity|nan)$", re.IGNORECASE)  # a value, which the parser takes for an option
_OPTION = re.compile(r"(?!-(?i:inf|infinity|nan)$)--?[^\W\d]")
_SIDES = " │|"
_RULE = re.compile(r"[─-]{3,}")  # the latter where ASCII has to do, and there below the title as well
Parse = Callable[[Sequence[str]], object]


def printed_completion(parse: Parse, words: Sequence[str], shell: str) -> str:
    """The script that tyro writes to complete what can follow ``words``."""
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        parse([*words, "--tyro-print-completion", shell])
    return text.getvalue()


def plain_help(text: str) -> str:
    """tyro's help without names that are ours and Python's: sections whose options do not bear their name are options,
    what may be left out takes what it takes, and switches are on or off."""

    def title(found: re.Match[str]) -> str:
        if f"--{found[2]}." in text:
            return found[0]
        return f"{found[1]}options {'─' * (len(found[2]) + 1 + len(found[3])) if found[3] else ''}"

    lines = []
    for line in _TITLE.sub(title, text).splitlines():
        found = _OR_NONE.search(line)
        if found and line.strip(_SIDES).startswith("-"):  # where what follows stays in its column
            head, tail = line[: found.start()], line[found.end() :]
            what, gap, rest = re.fullmatch(r"(.*?)(  +|$)(.*)", tail).groups()  # type: ignore[union-attr]
            line = f"{head}{_kept(found)}{what}{gap}{' ' * (len(found[0]) - len(_kept(found)))}{rest}"
        lines.append(_OR_NONE.sub(_kept, line).rstrip() if "│" not in line else line)
    told = "\n".join(lines).replace("(default: )", "(default: none)")
    for word, ours in (("None", "none"), ("False", "off"), ("True", "on")):
        told = re.sub(rf"\b{word}\)(?= |$)", f"{ours}){' ' * (len(word) - len(ours))}", told, flags=re.MULTILINE)
    has_switches = re.search(r"(--|\.)no-", told)
    return told.rstrip() + ("\n\n--no-NAME switches off what --NAME switches on.\n" if has_switches else "\n")


def _kept(found: re.Match[str]) -> str:
    """``{None}|PATH`` is PATH, and ``{None,a,b}`` is ``{a,b}``."""
    return "{" if found[0].endswith(",") else ""


def literal_in(script: str) -> re.Match[str]:
    """Where in a completion script all is told that can be given, as one literal of Python."""
    found = _LITERAL.search(script)
    assert found is not None
    return found


def known(parse: Parse, words: Sequence[str] = ()) -> dict[str, Any]:
    """All that can follow ``words``: ``options``, and by name the ``subcommands`` with theirs."""
    found: dict[str, Any] = ast.literal_eval(literal_in(printed_completion(parse, words, "bash"))[0])
    return found


def mistakes(parse: Parse, given: Sequence[str], *, program: str, framed: str) -> InputError:
    """What is wrong with arguments that tyro refused with the ``framed`` words, a line for each mistake."""
    about = known(parse)
    arguments = list(given)
    if commands := about["subcommands"]:
        if not arguments or arguments[0] not in commands:
            return InputError(_of_command(arguments, list(commands), program))
        program = f"{program} {arguments[0]}"
        about = commands[arguments.pop(0)]
    options = {flag: option for option in about["options"] for flag in option["flags"]}
    found = [*_unknown(arguments, options, program), *_refused(arguments, options)]
    return InputError(
        "\n".join(
            found or _missing(arguments, about["options"], program) or [_plain(framed, arguments, options, program)]
        )
    )


def nearest(name: str, names: Sequence[str]) -> str:
    """``; did you mean ...?`` of the one that is like a name, if there is any; else ``;``."""
    last = [each for each in names if each.rpartition(".")[2] == name.lstrip("-").rpartition(".")[2]]
    close = last if len(last) == 1 else difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ";"


def _of_command(arguments: list[str], commands: list[str], program: str) -> str:
    they = f"{program} has {', '.join(commands)}"
    if not arguments or arguments[0].startswith("-"):
        return f"command: none given; {they}"
    return f"{arguments[0]}: no such command{nearest(arguments[0], commands)} {they}"


def _given(arguments: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option, as tyro spells it, with the values behind it."""
    begins = [number for number, word in enumerate(arguments) if _OPTION.match(word)]
    for begin, end in itertools.pairwise([*begins, len(arguments)]):
        name, sign, value = arguments[begin].partition("=")
        yield name.replace("_", "-"), [value, *arguments[begin + 1 : end]] if sign else arguments[begin + 1 : end]


def _unknown(arguments: list[str], options: dict[str, Any], program: str) -> Iterator[str]:
    names = [name for name in options if f"--{name.removeprefix('--no-')}" not in options or "--no-" not in name]
    for name, _ in _given(arguments):
        if name not in options:
            like = nearest(name, names)
            otherwise = " its --help tells which there are" if like == ";" else ""
            yield f"{name}: no such option of {program}{like}{otherwise}"


def _refused(arguments: list[str], options: dict[str, Any]) -> Iterator[str]:
    """Options without their value, and values that are none of an option's choices."""
    for name, values in _given(arguments):
        option = options.get(name, {})
        choices = option.get("choices")
        if choices and "None" in choices:  # one that may be left out, whose values tyro has in any order
            choices = sorted(set(choices) - {"None"})
        if option and (beyond := next(filter(_BELOW_ALL.match, values), None)):
            yield f"{name} {beyond}: is no finite number; give one"
        elif not values and option.get("nargs") == 1:
            yield f"{name}: no value given; it takes {_taken(option)}"
        elif choices and values and values[0] not in choices:
            yield f"{name} {values[0]}: no such value{nearest(values[0], choices)} give one of {', '.join(choices)}"


def _taken(option: dict[str, Any]) -> str:
    """What an option takes, in tyro's words."""
    return _OR_NONE.sub(_kept, str(option["description"]).partition(" • ")[0])


def _missing(arguments: list[str], options: list[dict[str, Any]], program: str) -> list[str]:
    names = {name for name, _ in _given(arguments)}
    needed = [
        option["flags"][0]
        for option in options
        if option["description"].endswith("(required)") and not names.intersection(option["flags"])
    ]
    if not needed:
        return []
    of = {option["flags"][0]: option.get("choices") or () for option in options}
    choices = "".join(f"; {flag} is one of {', '.join(of[flag])}" for flag in needed if of[flag])
    return [f"{', '.join(needed)}: not given; {program} needs {'it' if len(needed) == 1 else 'them'}{choices}"]


def _unquoted(arguments: list[str], options: dict[str, Any]) -> tuple[str, str] | None:
    """The first option that takes one word and has several, with the first of them, and with all of them in quotes."""
    for name, words in _given(arguments):
        if len(words) > 1 and options[name].get("nargs") == 1:
            return f"{name} {words[0]}", f"{name} {shlex.quote(' '.join(words))}"
    return None


def _plain(framed: str, arguments: list[str], options: dict[str, Any], program: str) -> str:
    """The first words in a frame, as one line."""
    lines = [line.strip(_SIDES) for line in framed.splitlines()[1:]]
    below = lines[1:] if lines and _RULE.match(lines[0]) else lines
    said = " ".join(itertools.takewhile(lambda line: not _RULE.match(line), below)).removeprefix("Error parsing ")
    for name, values in _given(arguments):
        if said.startswith(f"{name}: "):
            taken = _taken(options[name])
            wanted = f"give {_NUMBERS[taken]}" if taken in _NUMBERS else f"cannot be read as {taken}"
            return f"{name} {' '.join(values)}: {wanted}"
    unquoted = _unquoted(arguments, options)
    there = "there" if not unquoted else f"behind {unquoted[0]}; a path with blanks needs quotes: {unquoted[1]}"
    for pattern, told in (
        (r"Unrecognized options: (.+)", r"\1: not understood THERE; PROGRAM --help tells what it takes"),
        (r"Missing from .*?: (\S+) .*", r"\1: not given; PROGRAM needs it"),
        (
            r"invalid choice '(.+)' for argument '(.+)'\. Expected one of \('(.+)'\)\.",
            r"\2 \1: no such value; give one of \3",
        ),
    ):
        if match := re.fullmatch(pattern, said):
            return match.expand(told).replace("', '", ", ").replace("PROGRAM", program).replace("THERE", there)
    return f"{' '.join(said.split()).rstrip('.:')}; {program} --help tells what it takes"
