"""A stand-in of the Hugging Face hub's HTTP interface, as far as huggingface-hub 2.4 uses it to make repositories, to
upload by commits and large files by LFS, and to download. Not a test by itself."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_standing_in"


class Hub:
    """What it holds: files by path of each repository, and what was said on making it."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.made: list[dict[str, Any]] = []
        self.large: dict[str, bytes] = {}
        self.endpoint = ""

    def revision(self, name: str) -> str:
        said = json.dumps({path: hashlib.sha1(content).hexdigest() for path, content in self.files[name].items()})
        return hashlib.sha1(said.encode()).hexdigest()


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, content: bytes | object = b"", **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = urlsplit(self.path).path.strip("/")
            if path.startswith("api/models/"):
                name, of_tree, _ = path.removeprefix("api/models/").partition("/tree/")
                name = name.partition("/revision/")[0]
                if name not in hub.files:
                    return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
                if of_tree:
                    sizes = {file: len(content) for file, content in hub.files[name].items()}
                    return self.answer(
                        200, [{"type": "file", "oid": "0", "size": sizes[file], "path": file} for file in sizes]
                    )
                listed = [{"rfilename": file, "size": len(content)} for file, content in hub.files[name].items()]
                return self.answer(200, {"id": name, "modelId": name, "sha": hub.revision(name), "siblings": listed})
            name, _, rest = path.partition("/resolve/")
            content = hub.files.get(name, {}).get(rest.partition("/")[2])
            if content is None:
                return self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.answer(200, content, ETag=etag, X_Repo_Commit=hub.revision(name))

        def do_PUT(self) -> None:
            hub.large[self.path.rpartition("/")[2]] = self.body()
            self.answer(200)

        def do_POST(self) -> None:
            path, content = urlsplit(self.path).path.strip("/"), self.body()
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            if path == "api/repos/create":
                said = json.loads(content)
                name = f"{said['organization']}/{said['name']}"
                if name in hub.files:
                    return self.answer(
                        409, {"error": "You already created this model repo", "url": f"{hub.endpoint}/{name}"}
                    )
                hub.made.append(said)
                hub.files[name] = {}
                return self.answer(200, {"url": f"{hub.endpoint}/{name}"})
            if path == "api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**each, "actions": {"upload": {"href": f"{hub.endpoint}/large/{each['oid']}"}}}
                    for each in json.loads(content)["objects"]
                ]
                return self.answer(200, {"transfer": "basic", "objects": objects})
            name, _, rest = path.removeprefix("api/models/").partition("/preupload/")
            if rest:
                modes = [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for each in json.loads(content)["files"]
                ]
                return self.answer(200, {"files": modes})
            name = path.removeprefix("api/models/").partition("/commit/")[0]
            for line in map(json.loads, content.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[name][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[name][value["path"]] = hub.large[value["oid"]]
            sha = hub.revision(name)
            self.answer(200, {"success": True, "commitOid": sha, "commitUrl": f"{hub.endpoint}/{name}/commit/{sha}"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
