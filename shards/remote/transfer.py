"""Reading files elsewhere through fsspec, by ranges: a cut connection goes on at the range that it had reached.

What passes (resets, timeouts, HTTP 408, 425, 429 and 5xx, a page instead of the file) is tried again after a growing
pause; what does not (no such file, no access) is an ``InputError`` at once. Credentials and endpoints are given the way
fsspec and its file systems read them: ``AWS_*`` variables, ``FSSPEC_S3_ENDPOINT_URL`` and the like, files in
``~/.config/fsspec``.
"""

import asyncio
import concurrent.futures
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, NoReturn, TypeVar

import fsspec

from shards.base.errors import InputError
from shards.format.manifest import MOST_MANIFEST_BYTES
from shards.remote.address import Address, without_secrets
from shards.remote.answer import LEAST_RATE, STALL_SECONDS, Answer, OtherSize, WrongAnswer, ask_web

FIRST_RANGE_BYTES = 1 << 20
LONGEST_RANGE_BYTES = 4 << 20
SHORTEST_RANGE_BYTES = 1 << 16
_POLL_SECONDS = 0.05
_CALM_RANGES = 8  # that must arrive after a cut before they grow again
_PASSING_STATUS = (408, 425, 429)
_PASSING_KINDS = frozenset(  # of aiohttp and botocore, whose errors of connections are no OSError
    {"ClientPayloadError", "ServerDisconnectedError", "HTTPClientError", "ResponseParserError"}
    | {"EndpointConnectionError", "ProxyConnectionError", "ReadTimeoutError"}
)
_WEB = ("http", "https")
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Unreachable(InputError):
    """A server did not answer, however often it was asked."""


class Stopped(Exception):
    """A transfer was given up because its result is no longer wanted."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often a range is tried, and the pauses between: doubled each time, with a jitter of half of them.

    The defaults wait 47 s in all, on average, before a server counts as unreachable. Each range that arrives starts the
    count anew.
    """

    tries: int = 8
    first_seconds: float = 0.5
    longest_seconds: float = 16.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        pause = min(self.longest_seconds, self.first_seconds * 2 ** (failures - 1))
        return pause * random.uniform(0.5, 1.5)


class Source:
    """The files of a folder elsewhere. Threads may share it; a copy in another process opens its own connections."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self.address, self.patience = address, patience
        self._lock = threading.Lock()
        self._opened: tuple[int, Any] | None = None

    def read(self, name: str, stop: threading.Event) -> bytes:
        """A whole ``dataset.json``.

        Raises:
            InputError: it cannot be had, or is larger; :class:`Unreachable` if the server does not answer.
            Stopped: ``stop`` was set.
        """

        def request() -> bytes:
            answer = self._request(name, None, None, stop, most=MOST_MANIFEST_BYTES)
            try:
                return answer.whole(name)
            except OtherSize:
                raise InputError(
                    f"{self.address}/{name}: has more than {MOST_MANIFEST_BYTES:,} bytes, as no {name} has; check the "
                    "address"
                ) from None

        return self._patiently(name, stop, request)

    def ranges(self, name: str, start: int, size: int, stop: threading.Event) -> Iterator[tuple[int, bytes]]:
        """A file of ``size`` bytes from ``start`` on, as (offset, bytes) in order.

        A server that does not know ranges gives the whole file: then the offset is 0, whatever came before. Ranges are
        halved where the connection is cut and grow again where it holds.

        Raises:
            InputError: it cannot be had, or has another size; :class:`Unreachable` if the server does not answer, or
                answers something else, such as a page with status 200.
            Stopped: ``stop`` was set.
        """
        position, length, num_calm = start, FIRST_RANGE_BYTES, 0

        def request() -> bytes:
            nonlocal length, num_calm
            end = min(size, position + length)
            try:
                return self._request(name, position, end, stop, most=size).part(position, end, size)
            except OtherSize:
                raise InputError(
                    f"{self.address}/{name}: has another size than its dataset.json says; "
                    "copy the whole dataset folder there again"
                ) from None
            except Exception:
                length, num_calm = max(SHORTEST_RANGE_BYTES, length // 2), -_CALM_RANGES
                raise

        while position < size:
            data = self._patiently(name, stop, request)
            if len(data) == size:
                yield 0, data
                return
            yield position, data
            position += len(data)
            num_calm += 1
            if num_calm > 0:
                length = min(LONGEST_RANGE_BYTES, 2 * length)

    def _patiently(self, name: str, stop: threading.Event, request: Callable[[], bytes]) -> bytes:
        for failures in range(1, self.patience.tries + 1):
            try:
                data = request()
                if not data:
                    raise EOFError("no bytes came")
                return data
            except (Stopped, InputError):
                raise
            except Exception as error:  # fsspec's file systems raise what their libraries do
                where, why = f"{self.address}/{name}", _reason(error)
                remedy = "see what answers there" if isinstance(error, WrongAnswer) else "check the connection"
                if not _passes(error):
                    _refuse(error, where, why)
            if failures == self.patience.tries:
                raise Unreachable(
                    f"{where}: could not be fetched in {failures} tries ({why}); {remedy} and repeat"
                ) from None
            pause = self.patience.pause(failures)
            if failures > 1:  # a single cut mends itself unseen
                _log.warning("%s: %s, try %d of %d in %.1f s", where, why, failures + 1, self.patience.tries, pause)
            if stop.wait(pause):
                raise Stopped
        raise AssertionError("at least one try")

    def _request(self, name: str, start: int | None, end: int | None, stop: threading.Event, *, most: int) -> Answer:
        if stop.is_set():
            raise Stopped
        system = self._filesystem()
        path = system._strip_protocol(self.address.file(name))
        if system.protocol == _WEB:
            return _awaited(ask_web(system, path, start, end, most=most), system.loop, stop, seconds=None)
        if start is None or end is None:
            start, end = 0, most + 1
        if system.async_impl and not system.asynchronous:
            # What comes is not seen before all is there, so the rate is that of the smallest range or the least file.
            seconds = STALL_SECONDS + min(end - start, FIRST_RANGE_BYTES) / (LEAST_RATE * 16)
            data = _awaited(system._cat_file(path, start=start, end=end), system.loop, stop, seconds=seconds)
        else:
            data = bytes(system.cat_file(path, start=start, end=end))
        return Answer(data=data, is_cut=len(data) > most)

    def _filesystem(self) -> Any:
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                options = _options(self.address.scheme) | {"skip_instance_cache": True}
                system, _ = fsspec.core.url_to_fs(self.address.file(""), **options)
                if hasattr(system, "retries"):  # s3fs: its own tries would multiply ours
                    system.retries = 1
                self._opened = (os.getpid(), system)
            return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "patience": self.patience}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _options(scheme: str) -> dict[str, Any]:
    """What fsspec's own configuration leaves open: timeouts, and no retries below ours, which cannot be stopped."""
    own = fsspec.config.conf.get(scheme, {})
    if scheme in _WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALL_SECONDS, sock_read=STALL_SECONDS)
        return {
            "client_kwargs": {"timeout": timeout, "trust_env": True} | own.get("client_kwargs", {}),
            "headers": {"Accept-Encoding": "identity"} | own.get("headers", {}),  # a range of the file, not of a gzip
        }
    if scheme in ("s3", "s3a"):
        retries = {"total_max_attempts": 1, "mode": "standard"}
        timeouts = {"connect_timeout": STALL_SECONDS, "read_timeout": STALL_SECONDS}
        return {"config_kwargs": {"retries": retries} | timeouts | own.get("config_kwargs", {})}
    return {}


def _awaited(
    coroutine: Coroutine[Any, Any, _T],
    loop: asyncio.AbstractEventLoop,
    stop: threading.Event,
    *,
    seconds: float | None,
) -> _T:
    """Its result, computed on fsspec's own thread; given up at once where ``stop`` is set, and after ``seconds``."""
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    end = math.inf if seconds is None else time.monotonic() + seconds
    try:
        while not concurrent.futures.wait([future], timeout=_POLL_SECONDS).done:
            if stop.is_set():
                raise Stopped
            if time.monotonic() > end:
                raise TimeoutError(f"not all came in {seconds:.0f} s")
        return future.result()
    finally:
        future.cancel()


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error, if there is one."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        status = getattr(one, "status", None) or found
        if isinstance(status, int):
            return status
    return None


def _passes(error: Exception) -> bool:
    """Whether asking again can help."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError | ValueError):
        return False
    status = _status(error)
    if status is not None:
        return status >= 500 or status in _PASSING_STATUS
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ClientConnectorCertificateError" in names:
        return False
    return isinstance(error, WrongAnswer | OSError | EOFError | HTTPException) or bool(names & _PASSING_KINDS)


def _reason(error: Exception) -> str:
    """Why a request failed, on one line and without secrets."""
    status = _status(error)
    if status is not None and status >= 400:
        return f"HTTP {status}"
    text = " ".join(without_secrets(str(error)).split())[:300]
    if isinstance(error, WrongAnswer):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _refuse(error: Exception, where: str, why: str) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        message = "not there (404); check the address, and that the whole dataset folder was copied"
    elif isinstance(error, PermissionError) or "Credentials" in type(error).__name__ or _status(error) in (401, 403):
        message = (
            f"no access ({why}); check the address, and give credentials as fsspec reads them: AWS_* or FSSPEC_* "
            "variables, or a file in ~/.config/fsspec"
        )
    elif _status(error) == 416:
        message = "is shorter there (HTTP 416) than its dataset.json says; copy the whole dataset folder there again"
    elif isinstance(error, ImportError):
        message = f"cannot be read: {why}; for s3:// install moco-cxr[s3], for others what fsspec names here"
    else:
        message = f"cannot be read ({why}); check the address"
    raise InputError(f"{where}: {message}") from None
