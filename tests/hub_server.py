"""A model hub on this machine: as much of its HTTP interface as huggingface_hub needs.

Written after huggingface_hub's own calls: ``/api/models/<id>[/revision/<rev>]`` and
``/<id>/resolve/<rev>/<file>`` with ETag, X-Repo-Commit and X-Linked-Size. It counts every request
and can misbehave in the ways that networks do.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """``commits`` in order; the last is the main branch."""

    commits: dict[str, dict[str, bytes]]
    licence: str | None = None

    def commit(self, revision: str) -> str | None:
        found = list(self.commits)[-1] if revision == "main" else revision
        return found if found in self.commits else None


@dataclass
class Hub:
    """What the server holds, and what it was asked.

    ``short`` files come with half of their bytes; ``breaking`` files break off once, half-way;
    ``flipped`` files come with another byte than their hash says.
    """

    url: str = ""
    models: dict[str, Repository] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)
    breaking: set[str] = field(default_factory=set)
    flipped: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub on a free port of the loopback interface."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            self._serve(body=True)

        def do_HEAD(self) -> None:
            self._serve(body=False)

        def _serve(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            if about := _API.fullmatch(path):
                self._about(about[1], about[2] or "main")
            elif wanted := _FILE.fullmatch(path):
                self._file(wanted[1], wanted[2], wanted[3], body)
            else:
                self._refuse(404, "RepoNotFound")

        def _about(self, model: str, revision: str) -> None:
            repository = hub.models.get(model)
            commit = repository and repository.commit(revision)
            if repository is None or commit is None:
                return self._refuse(404, "RevisionNotFound" if repository else "RepoNotFound")
            siblings = [
                {"rfilename": name, "size": len(data),
                 "lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 134}}
                if not name.endswith(".json") else {"rfilename": name, "size": len(data)}
                for name, data in repository.commits[commit].items()
            ]  # fmt: skip
            card = {"license": repository.licence} if repository.licence else {}
            text = json.dumps(
                {"_id": "1", "id": model, "sha": commit, "siblings": siblings, "cardData": card}
            ).encode()
            self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(text))})
            self.wfile.write(text)

        def _file(self, model: str, revision: str, name: str, body: bool) -> None:
            repository = hub.models.get(model)
            commit = repository and repository.commit(revision)
            if repository is None or commit is None or name not in repository.commits[commit]:
                return self._refuse(404, "EntryNotFound")
            if model in hub.gated:
                return self._refuse(403, "GatedRepo")
            data = repository.commits[commit][name]
            headers = {
                "ETag": f'"{sha256(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes",
                "X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha256(data)}"',
            }  # fmt: skip
            if not body:
                return self._head(200, {**headers, "Content-Length": str(len(data))})
            self._body(name, data, headers)

        def _body(self, name: str, data: bytes, headers: dict[str, str]) -> None:
            if name in hub.flipped:
                data = data[:-1] + bytes([data[-1] ^ 1])
            if name in hub.short:
                data = data[: len(data) // 2]
            status, begin = 200, 0
            if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                status, begin = 206, int(wanted[1])
                headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
                hub.requests[-1] += f" from {begin}"
            self._head(status, {**headers, "Content-Length": str(len(data) - begin)})
            if name in hub.breaking:
                hub.breaking.discard(name)
                self.wfile.write(data[begin : (begin + len(data)) // 2])
                self.close_connection = True
                return
            self.wfile.write(data[begin:])

        def _refuse(self, status: int, code: str) -> None:
            self._head(status, {"X-Error-Code": code, "Content-Length": "0"})

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
