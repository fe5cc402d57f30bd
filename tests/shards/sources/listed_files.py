"""Inputs that are only there by name, but for their lists: real lists without the images that they are of."""

import io
from bisect import bisect_left
from collections.abc import Iterable, Mapping

import pytest

from shards.sources.files import is_inside


class ListedFiles:
    """As :class:`shards.sources.files.FolderFiles`, of empty files ``names`` and of others with a content."""

    label = "listed"

    def __init__(self, contents: Mapping[str, bytes], names: Iterable[str] = (), prefix: str = "") -> None:
        self._contents, self._prefix = contents, prefix
        self._names = sorted({*contents, *names})
        self._known = set(self._names)

    def names(self) -> list[str]:
        return self._names

    def folders(self) -> list[str]:
        return sorted({name.split("/")[0] for name in self._names if "/" in name})

    def has(self, name: str) -> bool:
        return is_inside(name) and name in self._known

    def size(self, name: str) -> int:
        return len(self.read(name))

    def file_number(self, name: str) -> None:
        return None

    def open(self, name: str) -> io.BytesIO:
        return io.BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        if name not in self._known:
            raise FileNotFoundError(name)
        return self._contents.get(name, b"")

    def below(self, prefix: str) -> "ListedFiles":
        inside = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        first, last = bisect_left(self._names, inside), bisect_left(self._names, inside[:-1] + "0")
        names = [name.removeprefix(inside) for name in (self._names[first:last] if inside else self._names)]
        contents = {name.removeprefix(inside): data for name, data in self._contents.items() if name.startswith(inside)}
        return ListedFiles(contents, names)


def real_list(name: str) -> bytes:
    """A list that torchxrayvision brings along, as it is; skips the test where it is not installed."""
    from importlib.util import find_spec
    from pathlib import Path

    found = find_spec("torchxrayvision")
    if found is None or found.origin is None:
        pytest.skip("torchxrayvision, which brings real lists, is not installed: pip install --no-deps torchxrayvision")
    return (Path(found.origin).parent / "data" / name).read_bytes()
