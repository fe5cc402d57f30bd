"""What a file system or web server answers to a range of a file, and whether it is what was asked for.

A page of a proxy, a portal or a login comes with status 200 as well as a file does; so the status, the range that the
server says it gives, and the number of bytes are compared with what was asked for, and what came instead is told.
"""

import re
from dataclasses import dataclass
from typing import Any

from shards.remote.address import without_secrets

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
    was asked, that answered."""

    data: bytes
    status: int | None = None
    kind: str = ""
    content_range: str = ""
    redirected: str = ""

    def whole(self, what: str) -> bytes:
        """The bytes, if they can be a JSON file.

        Raises:
            WrongAnswer: a web server gave something else.
        """
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
            if first == start and last < end and num_bytes == last - first + 1:
                return self.data
            raise WrongAnswer(f"{self._in_words()}, said to be bytes {first:,} to {last + 1:,}, instead of {asked}")
        if num_bytes == size or (num_bytes == end - start and self.status != 200):
            return self.data
        if num_bytes > end - start and self.status in (None, 200) and not self.kind.startswith(_PAGES):
            raise OtherSize
        raise WrongAnswer(f"{self._in_words()} instead of {asked}")

    def _in_words(self) -> str:
        text = self.data[:4096].decode("utf-8", errors="replace")
        words = " ".join(_NOT_WORDS.sub(" ", text).split())[:80]
        said = f" ({without_secrets(words)!r})" if words and self.kind.startswith(_PAGES) else ""
        status = "" if self.status is None else f"HTTP {self.status} with "
        by = f", by {without_secrets(self.redirected)}," if self.redirected else ""
        return f"{status}{len(self.data):,} bytes{' of ' if self.kind else ''}{self.kind}{said}{by}"


async def ask_web(system: Any, url: str, start: int | None, end: int | None) -> Answer:
    """What a web server answers; ``system`` is fsspec's file system for it, which drops status and headers.

    Raises:
        FileNotFoundError: HTTP 404; another error of the connection or status as aiohttp raises it.
        WrongAnswer: a compressed file, of which ranges mean nothing.
    """
    import aiohttp

    settings = dict(system.kwargs)
    if start is not None and end is not None:
        settings["headers"] = {**settings.get("headers", {}), "Range": f"bytes={start}-{end - 1}"}
    session = await system.set_session()
    async with session.get(system.encode_url(url), **settings) as response:
        packed = response.headers.get("Content-Encoding", "identity")
        try:
            data = await response.read()
        except aiohttp.ClientPayloadError:
            if response.status == 206 and packed != "identity":
                raise WrongAnswer(f"HTTP 206 with a part packed by {packed} instead of one of the file") from None
            raise
        system._raise_not_found_for_status(response, url)
        return Answer(
            data=data,
            status=response.status,
            kind=response.content_type,
            content_range=response.headers.get("Content-Range", ""),
            redirected=str(response.url) if response.history else "",
        )
