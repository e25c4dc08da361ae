"""A local server that speaks the part of the hub's interface that fetching uses."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        for name, folder in self.server.repositories.items():
            kind = "datasets" if name.startswith("datasets/") else "models"
            about = f"/api/{kind}/{name.removeprefix('datasets/')}"
            if path.startswith(f"{about}/tree/"):
                return self._json([self._entry(folder, f) for f in self._names(folder)])
            if path == about or path.startswith(f"{about}/revision/"):
                siblings = [{"rfilename": f} for f in self._names(folder)]
                return self._json({"_id": "1", "id": name, "sha": COMMIT, "siblings": siblings})
            for revision in (COMMIT, "v1"):
                if path.startswith(start := f"/{name}/resolve/{revision}/"):
                    return self._file(folder, path.removeprefix(start))
        return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def _names(self, folder: Path) -> list[str]:
        return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())

    def _entry(self, folder: Path, name: str) -> dict:
        body = (folder / name).read_bytes()
        oid = hashlib.sha1(body).hexdigest()
        return {"type": "file", "path": name, "size": len(body), "oid": oid}

    def _file(self, folder: Path, name: str) -> None:
        if not (folder / name).is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        etag = f'"{self._entry(folder, name)["oid"]}"'
        headers = {"ETag": etag, "X-Repo-Commit": COMMIT}
        return self._send(200, (folder / name).read_bytes(), headers)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(repositories: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """The server's address and the paths it was asked for. Keys are `OWNER/NAME` of models and
    `datasets/OWNER/NAME`; each is at one commit, which the tag v1 names."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        server.repositories, server.asked = repositories, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", server.asked
        server.shutdown()
