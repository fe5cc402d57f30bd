"""The checks of a pretraining run at the door, before anything heavy is imported: all that is wrong in one answer, with
the settings that mend it together."""

import contextlib
import io

from shards.base.errors import InputError
from train.settings.config import PretrainConfig
from train.settings.faults import Rows, absent, beyond, faults
from train.settings.fit import changes, fitted
from train.settings.run_folder import check_run_folder

FIT = "--fit"


def check_config(config: PretrainConfig, *, world_size: int, rows: Rows | None = None) -> None:
    """Refuses settings that cannot work, or that would silently do something else than what they say.

    Args:
        rows: what they select; without it, only what they say by themselves is looked at.

    Raises:
        InputError: each field with its value and the remedy; of several, what mends them together.
    """
    _refuse(config, _wrong(config, world_size, rows), world_size=world_size, rows=rows, way=FIT)


def settle(config: PretrainConfig, *, world_size: int, fit: bool = False, way: str = FIT) -> PretrainConfig:
    """Checks settings with the datasets and the run folder that they name, which takes a second or two.

    Args:
        fit: take other values in place of those that do not fit.
        way: how the caller is asked for that.

    Returns:
        the settings, with ``fit`` perhaps others.

    Raises:
        InputError: as :func:`check_config`.
    """
    rows, wrong = None, []
    if config.data and not beyond(config):
        from train.settings.rows import rows_of, select_rows  # pyarrow, which no other mistake should wait for

        try:
            with contextlib.redirect_stderr(io.StringIO()):  # notes, which the run repeats
                rows = rows_of(select_rows(config))
        except InputError as error:
            wrong += str(error).splitlines()
    if fit and not beyond(config):
        config = fitted(config, world_size=world_size, rows=rows)
    wrong = [*_wrong(config, world_size, rows), *wrong]
    if config.output is not None:
        try:
            check_run_folder(config)
        except InputError as error:
            wrong += str(error).splitlines()
    _refuse(config, wrong, world_size=world_size, rows=rows, way=way)
    return config


def _wrong(config: PretrainConfig, world_size: int, rows: Rows | None) -> list[str]:
    known = [*absent(config), *beyond(config)]
    return known if beyond(config) else [*known, *faults(config, world_size=world_size, rows=rows)]


def _refuse(config: PretrainConfig, wrong: list[str], *, world_size: int, rows: Rows | None, way: str) -> None:
    if not wrong:
        return
    if len(wrong) == 1:
        raise InputError(wrong[0])
    lines = [f"{len(wrong)} settings do not fit:", *wrong]
    if not beyond(config) and (changed := changes(config, fitted(config, world_size=world_size, rows=rows))):
        together = " ".join(f"{name} {value}" for name, value in changed.items())
        lines.append(f"these fit together: {together} ({way} takes them)")
    raise InputError("\n".join(lines))
