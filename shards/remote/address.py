"""Addresses of datasets elsewhere: ``http://host/data/chexpert``, ``s3://bucket/chexpert``, any that fsspec knows.

An address may hold a name and password (``user:password@``) or a token (``?token=...``). They are given to the server
and to nothing else: ``str`` and ``repr`` of an :class:`Address`, and what :func:`without_secrets` gives, hold neither.
"""

import hashlib
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from shards.base.errors import InputError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(::[A-Za-z][A-Za-z0-9+.\-]*)*://")
_AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.\-:]*[A-Za-z0-9+.\-]):/(?!/)")
_LOGIN = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_QUERY = re.compile(r"\?[^\s'\")>]*")


def without_secrets(text: str) -> str:
    """``text`` with every ``user:password@`` and ``?query`` left out."""
    return _QUERY.sub("", _LOGIN.sub("", text))


@dataclass(frozen=True, kw_only=True, repr=False)
class Address:
    """A folder elsewhere: ``base`` without a last slash, and the ``query`` that each of its files is asked with."""

    base: str
    query: str = field(default="")

    @classmethod
    def parse(cls, text: str | Path) -> Self | None:
        """The address that ``text`` is; None for the path of a folder here.

        A ``Path`` joins the two slashes of an address to one (command lines make one of every dataset named), so they
        are parted again.
        """
        given = str(text)
        if isinstance(text, Path):
            given = _AS_PATH.sub(lambda found: f"{found[1]}://" + ("/" if found[1] == "file" else ""), given, count=1)
        if not _SCHEME.match(given):
            return None
        base, mark, query = given.partition("?")
        return cls(base=base.rstrip("/"), query=mark + query)

    @property
    def scheme(self) -> str:
        """``http``, ``s3``, ..."""
        return self.base.partition("://")[0].rpartition("::")[2].lower()

    @property
    def slug(self) -> str:
        """A short name for a folder, different for different addresses, without secrets."""
        name = str(self)
        words = re.sub(r"[^A-Za-z0-9.]+", "-", name)[-60:].strip("-.")
        return f"{words}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"

    def file(self, name: str) -> str:
        """Where a file of the folder is, secrets included."""
        return f"{self.base}/{name}{self.query}"

    def joined(self, relative: str) -> "Address":
        """The folder at a path relative to this one.

        Raises:
            InputError: the path leads above the server or bucket.
        """
        start, _, path = self.base.partition("://")
        host, _, folder = path.partition("/")
        if posixpath.isabs(relative) or posixpath.normpath(f"{folder}/{relative}").startswith(".."):
            raise InputError(f"dataset {self}: its member {relative} is not below the same server or bucket")
        joined = posixpath.normpath(f"/{folder}/{relative}")
        return Address(base=f"{start}://{host}{joined}", query=self.query)

    def __str__(self) -> str:
        return without_secrets(self.base)

    __repr__ = __str__


def require_here(folder: Path, what: str) -> None:
    """Refuses an address where ``what`` needs a folder of this machine.

    Raises:
        InputError: ``folder`` is an address.
    """
    if (address := Address.parse(folder)) is not None:
        raise InputError(f"{what}: {address} is elsewhere; copy the dataset folder here first")
