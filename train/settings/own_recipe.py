"""Recipes of the user's own, in a file: YAML with the settings that differ from those of a recipe, or a Python function
that returns a :class:`train.settings.config.PretrainConfig`.

    recipe: small_resnet18                                # my.yaml
    run: {epochs: 50}

    from dataclasses import replace                       # my.py

    from train.settings.config import PretrainConfig
    from train.settings.recipes import small_resnet18

    def longer() -> PretrainConfig:
        base = small_resnet18()
        return replace(base, run=replace(base.run, epochs=50))

The config.yaml of a run is such a YAML file. Of a Python file with several functions, ``my.py:longer`` names one.
"""

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from shards.base.config_file import of_file, read_settings, with_settings
from shards.base.errors import InputError
from shards.base.stored import read_file
from train.settings.config import PretrainConfig
from train.settings.recipes import RECIPES, recipe

CUSTOM = "custom"
"""What the recipe of settings is called that come from none of ours."""
YAML = (".yaml", ".yml")
FORMS = "a recipe's name, a file NAME.yaml, or NAME.py:FUNCTION"


def find_recipe(word: str) -> tuple[PretrainConfig, str]:
    """The settings of a recipe, ours by name or of the user's own by file, and what is said of it.

    Raises:
        InputError: there is none such, with the nearest name; or a file that is no recipe.
    """
    path, _, function = word.partition(":")
    if Path(path).suffix == ".py":
        return _from_python(Path(path), function)
    if Path(word).suffix in YAML:
        with of_file(Path(word), "recipe"):
            content = read_settings(Path(word))
            return with_recipe(None, content), f"The recipe of {word}, from {content['recipe']}."
    config = recipe(word)
    return config, inspect.getdoc(RECIPES[word]) or ""


def with_recipe(config: PretrainConfig | None, content: Mapping[str, Any]) -> PretrainConfig:
    """The settings of a file over those of a recipe, which the file names where no ``config`` is given.

    Raises:
        InputError: no recipe, an unknown one, or two; or a setting that is unknown or of the wrong type.
    """
    named = content.get("recipe")
    if config is None and named is None:
        raise InputError(f"recipe: missing; name the one that it starts from: {', '.join(RECIPES)}, or {CUSTOM}")
    if config is not None and named not in (None, config.recipe):
        raise InputError(f"recipe {named!r}: another one is given beside the file, {config.recipe}; leave one of them")
    if config is None:
        config = PretrainConfig() if named == CUSTOM else recipe(str(named))
    return with_settings(config, content)


def made_by(function: Callable[[], Any], where: str) -> PretrainConfig:
    """What a function of the user's returns.

    Raises:
        InputError: something else than settings.
    """
    made = function()
    if not isinstance(made, PretrainConfig):
        raise InputError(f"{where}: returns {type(made).__name__}, no train.settings.config.PretrainConfig; return one")
    return made


def _from_python(path: Path, name: str) -> tuple[PretrainConfig, str]:
    where = f"recipe {path}"
    try:
        content = read_file(path)
    except InputError as error:
        raise InputError(f"{where}: {error}; give {FORMS}") from None
    module = ModuleType(f"recipe_of_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for what annotates them
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
        function = _function(module, name, where)
        return made_by(function, f"{where}:{function.__name__}"), inspect.getdoc(function) or ""
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        said = error.msg if isinstance(error, SyntaxError) else error
        raise InputError(f"{where}: {_line(error, path)}{type(error).__name__}: {said}") from None


def _function(module: ModuleType, name: str, where: str) -> Callable[[], Any]:
    """The one that is named, or the only one there."""
    found = {
        each: value
        for each, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not each.startswith("_")
    }
    if name in found:
        return found[name]
    if len(found) == 1 and not name:
        return next(iter(found.values()))
    if not found:
        raise InputError(f"{where}: holds no function; define one that returns a PretrainConfig")
    told = f"no function {name} in it" if name else "holds several functions"
    raise InputError(f"{where}: {told}; give one of {', '.join(f'{module.__file__}:{each}' for each in found)}")


def _line(error: BaseException, path: Path) -> str:
    """Where in the file."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: "
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""
