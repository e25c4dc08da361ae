"""A local server that speaks the part of the hub's interface that an upload uses."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        server.tokens.add(self.headers.get("Authorization"))
        repo, _, action = (
            self.path.removeprefix("/api/models/").rpartition("/main")[0].rpartition("/")
        )
        if server.refuse:
            self._json({"error": "forbidden"}, 403)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            server.made.append(asked)
            owner = asked.get("organization", "me")
            self._json({"url": f"{server.address}/{owner}/{asked['name'].rpartition('/')[2]}"})
        elif self.path == "/api/validate-yaml":
            errors = [{"message": message} for message in server.invalid]
            self._json({"errors": errors, "warnings": []}, 400 if errors else 200)
        elif action == "preupload":
            names = [f["path"] for f in json.loads(body)["files"]]
            said = {"uploadMode": "regular", "shouldIgnore": False}
            self._json({"files": [{"path": name, **said} for name in names]})
        elif action == "commit":
            self._keep(repo, body)
            url = f"{server.address}/{repo}/commit/c0ffee"
            self._json({"commitUrl": url, "commitOid": "c0ffee", "success": True})
        else:
            self._json({"error": self.path}, 404)

    def _keep(self, repo: str, body: bytes) -> None:
        files = self.server.files.setdefault(repo, {})
        for entry in map(json.loads, body.decode().splitlines()):
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve_uploads() -> Iterator[ThreadingHTTPServer]:
    """The server, with what it was told: `made` repositories, `files` by repository, `tokens`; and
    what it is to say: `refuse` everything, `invalid` cards."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.made, server.files, server.tokens = [], {}, set()
        server.refuse, server.invalid = False, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
