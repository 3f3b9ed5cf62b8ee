"""A hub on this machine: the answers that opening a model needs, and what may go wrong."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it has, and what it was asked.

    Attributes:
        repos: folders by ``owner/name``.
        gated: names that need a licence.
        cut: files whose downloads break off, and after which share each of the next ones does.
        slow: seconds that every answer takes.
        asked: method, path and the ``Range`` of every request.
    """

    repos: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut: dict[str, list[float]] = field(default_factory=dict)
    slow: float = 0.0
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            path = unquote(self.path.partition("?")[0]).strip("/")
            hub.asked.append((self.command, path, self.headers.get("Range", "")))
            time.sleep(hub.slow)
            parts = path.split("/")
            of_api = parts[:2] == ["api", "models"]
            name = "/".join(parts[2:4] if of_api else parts[:2])
            rest = parts[4:] if of_api else parts[2:]
            revision = rest[1] if len(rest) > 1 else "main"
            if name in hub.gated:
                self.refuse(401, "GatedRepo", "Access to this model is restricted.")
            elif name not in hub.repos:
                self.refuse(401, "RepoNotFound", "Repository not found.")
            elif revision not in ("main", "branch", COMMIT):
                self.refuse(404, "RevisionNotFound", f"no revision {revision}")
            elif of_api:
                self.tell_of(name, rest, body)
            else:
                self.give(hub.repos[name] / "/".join(rest[2:]), body)

        def refuse(self, status, code, said):
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", said)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def tell_of(self, name, rest, body):
            files = sorted(path.name for path in hub.repos[name].iterdir())
            if rest[:1] == ["tree"]:
                if len(rest) > 2:
                    self.refuse(404, "EntryNotFound", "no such folder")
                    return
                found = [
                    {
                        "type": "file",
                        "path": f,
                        "size": (hub.repos[name] / f).stat().st_size,
                        "oid": "0" * 40,
                    }
                    for f in files
                ]
            else:
                found = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
            self.send(json.dumps(found).encode(), body, "application/json")

        def give(self, path, body):
            if not path.is_file():
                self.refuse(404, "EntryNotFound", f"no {path.name}")
                return
            self.send(path.read_bytes(), body, "application/octet-stream", path.name)

        def send(self, content, body, kind, name=""):
            first, whole = 0, len(content)
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes=") and body:
                first = int(asked.removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if first else 200)
            self.send_header("Content-Type", kind)
            self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(whole - first))
            if first:
                self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
            self.end_headers()
            if not body:
                return
            rest = content[first:]
            if hub.cut.get(name):
                self.wfile.write(rest[: int(len(rest) * hub.cut[name].pop(0))])
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True
                return
            self.wfile.write(rest)

    return Answers


@contextmanager
def standing() -> Iterator[Hub]:
    """A hub, until this ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
