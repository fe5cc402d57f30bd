"""What a file system or web server answers to a range of a file, and whether it is what was asked for.

A page of a proxy, a portal or a login comes with status 200 as well as a file does; so the status, the range that the
server says it gives, and the number of bytes are compared with what was asked for, and what came instead is told.
"""

import asyncio
import re
import time
import zlib
from dataclasses import dataclass
from typing import Any

from shards.remote.address import without_secrets

STALL_SECONDS = 30.0  # a connection that gives nothing for so long counts as cut
LEAST_RATE = 1024  # bytes a second over as long; one that gives less counts as cut too
LEAST_PART = 4096  # bytes of a range that must come at once, or all of it
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PAGES = ("text/", "application/json", "application/xml", "application/xhtml", "application/problem")
_NOT_WORDS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class WrongAnswer(Exception):
    """A server answered something else than what it was asked for; the message says what."""


class OtherSize(Exception):
    """The file there is not of the size that ``dataset.json`` says."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The bytes that came and, from a web server, its ``status`` and headers; ``redirected``: the address, another than
    was asked, that answered; ``is_cut``: more came than the file can have, and was not read."""

    data: bytes
    is_cut: bool = False
    status: int | None = None
    kind: str = ""
    content_range: str = ""
    redirected: str = ""

    def whole(self, what: str) -> bytes:
        """The bytes, if they can be a JSON file.

        Raises:
            WrongAnswer: a web server gave something else.
            OtherSize: it gave more than that can be.
        """
        if self.is_cut:
            raise OtherSize
        if self.status is None or (self.status == 200 and self.data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"")):
            return self.data
        raise WrongAnswer(f"{self._in_words()} instead of {what}")

    def part(self, start: int, end: int, size: int) -> bytes:
        """The bytes from ``start`` on, up to ``end`` or before; or all bytes of the file.

        Raises:
            WrongAnswer: others came, or too few.
            OtherSize: the file is not of ``size`` bytes.
        """
        num_bytes, asked = len(self.data), f"bytes {start:,} to {end:,} of {size:,}"
        found = _RANGE.fullmatch(self.content_range.strip()) if self.status == 206 else None
        if found is not None:
            first, last = int(found[1]), int(found[2])
            if found[3] not in ("*", str(size)):
                raise OtherSize
            is_enough = last + 1 == end or num_bytes >= LEAST_PART
            if first == start and last < end and num_bytes == last - first + 1 and is_enough and not self.is_cut:
                return self.data
            raise WrongAnswer(f"{self._in_words()}, said to be bytes {first:,} to {last + 1:,}, instead of {asked}")
        if not self.is_cut and (num_bytes == size or (num_bytes == end - start and self.status != 200)):
            return self.data
        if (self.is_cut or num_bytes > end - start) and self.status in (None, 200) and not self.kind.startswith(_PAGES):
            raise OtherSize
        raise WrongAnswer(f"{self._in_words()} instead of {asked}")

    def _in_words(self) -> str:
        text = self.data[:4096].decode("utf-8", errors="replace")
        words = " ".join(_NOT_WORDS.sub(" ", text).split())[:80]
        said = f" ({without_secrets(words)!r})" if words and self.kind.startswith(_PAGES) else ""
        status = "" if self.status is None else f"HTTP {self.status} with "
        by = f", by {without_secrets(self.redirected)}," if self.redirected else ""
        more = "more than " if self.is_cut else ""
        return f"{status}{more}{len(self.data):,} bytes{' of ' if self.kind else ''}{self.kind}{said}{by}"


async def ask_web(system: Any, url: str, start: int | None, end: int | None, *, most: int) -> Answer:
    """What a web server answers; ``system`` is fsspec's file system for it, which drops status and headers.

    Args:
        most: bytes that the whole file has at most; of a range, no more than was asked for are read.

    Raises:
        FileNotFoundError: HTTP 404; another error of the connection or status as aiohttp raises it.
        TimeoutError: it goes on, but too slowly.
        WrongAnswer: a compressed file, of which ranges mean nothing.
    """
    settings = dict(system.kwargs) | {"auto_decompress": False}  # of a bomb, all would be in memory at once
    if start is not None and end is not None:
        settings["headers"] = {**settings.get("headers", {}), "Range": f"bytes={start}-{end - 1}"}
    session = await system.set_session()
    async with asyncio.timeout(2 * STALL_SECONDS):  # to connect, and for all headers
        asked = await session.get(system.encode_url(url), **settings)
    async with asked as response:
        packed = response.headers.get("Content-Encoding", "identity")
        if response.status == 206 and start is not None and end is not None:
            most = end - start
        data = await _body(response, most)
        if packed != "identity" and response.status in (200, 206):
            data = _unpacked(data, most, packed, status=response.status)
        system._raise_not_found_for_status(response, url)
        return Answer(
            data=data[:most],
            is_cut=len(data) > most,
            status=response.status,
            kind=response.content_type,
            content_range=response.headers.get("Content-Range", ""),
            redirected=str(response.url) if response.history else "",
        )


def _unpacked(data: bytes, most: int, packed: str, *, status: int) -> bytes:
    """A file that was compressed on its way, up to a byte more than ``most``."""
    if status != 200 or packed not in ("gzip", "deflate"):
        raise WrongAnswer(f"HTTP {status} with a part packed by {packed} instead of one of the file")
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, most + 1)
    except zlib.error as error:
        raise WrongAnswer(f"HTTP {status} with bytes that are not packed by {packed}, as they say ({error})") from None


async def _body(response: Any, most: int) -> bytes:
    """What comes, up to a byte more than ``most``."""
    data = bytearray()
    since, before = time.monotonic(), 0
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            break
        seconds = time.monotonic() - since
        if seconds >= STALL_SECONDS:
            if len(data) - before < LEAST_RATE * seconds:
                raise TimeoutError(f"{len(data) - before:,} bytes in {seconds:.0f} s")
            since, before = time.monotonic(), len(data)
    return bytes(data[: most + 1])
