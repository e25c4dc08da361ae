"""Downloads from a local https server with a certificate of its own."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler

import pytest
from prepared_data import prepared, problems
from tls_server import serve_https

from snaketune.data.sources.remote import download
from snaketune.runtime.errors import UserError

BODY = "".join(json.dumps(p) + "\n" for p in problems(0, 3000)).encode()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/plain":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/test.jsonl")
            self.end_headers()
        elif self.path == "/cut/test.jsonl":
            self._send(len(BODY) + 10)
            self.close_connection = True
        elif self.path.startswith("/bad/"):
            self._send(10)
        elif self.path.startswith("/data/test.jsonl"):
            self._send(len(BODY))
        else:
            self.send_error(404)

    def _send(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(BODY[:length])

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(address of the server, file with its certificate)"""
    with serve_https(_Handler, tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture
def trusted(server, monkeypatch):
    """The server's address; Python trusts its certificate through the usual variable."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server[1]))
    return server[0]


def test_a_download_is_a_source_like_any_other(trusted):
    digest = hashlib.sha256(BODY).hexdigest()
    url = f"{trusted}/data/test.jsonl?signature=secret"
    found = prepared(url, sha256={"test": digest}, dev=0)
    assert len(found.splits["test"]) == 3000
    (source,) = found.manifest["sources"]
    assert source["url"] == f"{trusted}/data/test.jsonl"
    assert source["files"] == [{"name": "test.jsonl", "bytes": len(BODY), "sha256": digest}]
    with pytest.raises(UserError, match=f"found SHA-256 {digest}, expected {'1' * 64}"):
        prepared(url, sha256={"test": "1" * 64})


def test_faults(trusted, tmp_path):
    for path, words in {
        "/gone.jsonl": "found HTTPError: HTTP Error 404.*local file",
        "/plain": "http://127.0.0.1:9/test.jsonl: found .* not encrypted, expected https",
        "/cut/test.jsonl": rf"found {len(BODY)} bytes, expected {len(BODY) + 10}",
    }.items():
        with pytest.raises(UserError, match=words):
            download(trusted + path, tmp_path / "file")
    with pytest.raises(UserError, match=f"  {trusted}/bad/test.jsonl:1: found Unterminated"):
        prepared(f"{trusted}/bad/test.jsonl?signature=secret")
    with pytest.raises(UserError, match=r"ends with '\.zip', expected a file of \.jsonl"):
        prepared(f"{trusted}/data/test.zip")


def test_unknown_certificates_and_dead_hosts_are_refused(server, tmp_path):
    with pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"):
        download(f"{server[0]}/data/test.jsonl", tmp_path / "file")
    with pytest.raises(UserError, match=r"found URLError.*expected a file that this machine can"):
        download("https://127.0.0.1:9/test.jsonl", tmp_path / "file")
    with pytest.raises(UserError, match="expected https"):
        download("http://127.0.0.1:9/test.jsonl", tmp_path / "file")
