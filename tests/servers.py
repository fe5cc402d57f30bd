"""Servers on this machine that misbehave on demand: files over HTTP, and a proxy that cuts, slows and refuses."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

Answers = Callable[[bytes, tuple[int, int] | None], tuple[int, dict[str, str], bytes | Iterator[bytes]]]
"""Of a file's bytes and the range that is asked for, (start, end) or None: status, headers and body of an answer.
A body in pieces has no length, and ends with the connection. Status 0: the body is all that is sent."""


def ranged(data: bytes, part: tuple[int, int]) -> tuple[int, dict[str, str], bytes]:
    """The answer that a good server gives to a range."""
    start, end = part[0], min(part[1], len(data))
    return 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end]


class FileServer:
    """Serves a folder over HTTP/1.1; ``asked`` lists the requests as (path, range header or None)."""

    def __init__(self, root: Path, *, knows_ranges: bool = True) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.damaged: dict[str, int] = {}
        """File names, and how often each is still served with a byte changed."""
        self.status: dict[str, int] = {}
        """File names that are answered with a status instead."""
        self.answers: dict[str, Answers] = {}
        """File names, and what makes the answer of the file's bytes and the range asked for, (start, end) or None."""
        self._connections: list[socket.socket] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(root, knows_ranges))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        for connection in self._connections:  # kept alive, they would still be answered
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def count(self, suffix: str = ".tar") -> dict[str, int]:
        """How often each file with this suffix was asked for from its start."""
        starts = [
            path for path, part in self.asked if path.endswith(suffix) and (part or "bytes=0-").startswith("bytes=0-")
        ]
        return {path: starts.count(path) for path in sorted(set(starts))}

    def _handler(self, root: Path, knows_ranges: bool) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                server._connections.append(self.connection)

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                server.asked.append((path, self.headers.get("Range")))
                file = root / path.lstrip("/")
                status = server.status.get(file.name, 200 if file.is_file() else 404)
                if status != 200:
                    self.answer(status, {}, b"")
                    return
                data = file.read_bytes()
                found = self.headers.get("Range")
                start, _, last = (found or "bytes=0-").removeprefix("bytes=").partition("-")
                part = (int(start), int(last) + 1) if found else None
                if file.name in server.answers:
                    status, headers, body = server.answers[file.name](data, part)
                    self.answer(status, headers, body)
                    return
                if server.damaged.get(file.name, 0) > 0:
                    server.damaged[file.name] -= 1
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if part is not None and knows_ranges:
                    self.answer(*ranged(data, part))
                else:
                    self.answer(200, {}, data)

            def answer(self, status: int, headers: dict[str, str], body: bytes | Iterator[bytes]) -> None:
                is_whole = isinstance(body, bytes)
                length = {"Content-Length": str(len(body))} if is_whole else {"Connection": "close"}
                with contextlib.suppress(OSError):  # who asks has gone
                    if status:
                        self.send_response(status)
                        for name, value in (length | headers).items():
                            self.send_header(name, value)
                        self.end_headers()
                    for piece in [body] if is_whole else body:
                        self.wfile.write(piece)
                self.close_connection |= not is_whole or not status

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


class Proxy:
    """Passes TCP connections on to a port, badly.

    Args:
        cut_after: bytes of answers after which a connection is cut; None: never.
        num_refused: connections that are answered with HTTP 503 before all is well.
        bytes_per_second: how fast answers pass; None: at once.
    """

    def __init__(
        self, port: int, *, cut_after: int | None = None, num_refused: int = 0, bytes_per_second: float | None = None
    ) -> None:
        self._target, self.cut_after, self.num_refused = port, cut_after, num_refused
        self.bytes_per_second = bytes_per_second
        self.num_cuts, self.num_passed = 0, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._listener.settimeout(0.05)
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self.num_refused > 0:
                self.num_refused -= 1
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
                upward = threading.Thread(target=self._pass_up, args=(client, server), daemon=True)
                upward.start()
                left = self.cut_after
                for data in self._chunks(server):
                    if left is not None and len(data) > left:
                        client.sendall(data[:left])
                        self.num_cuts += 1
                        break
                    client.sendall(data)
                    self.num_passed += len(data)
                    left = None if left is None else left - len(data)
                    if self.bytes_per_second is not None:
                        self._ended.wait(len(data) / self.bytes_per_second)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _chunks(self, server: socket.socket) -> Iterator[bytes]:
        server.settimeout(0.05)
        size = 1 << 16 if self.bytes_per_second is None else 1 << 11
        while not self._ended.is_set():
            try:
                data = server.recv(size)
            except TimeoutError:
                continue
            if not data:
                return
            yield data

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
