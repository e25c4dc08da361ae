"""Datasets of the hub, from a local server that speaks the part of its interface that the
`datasets` library uses."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prepared_data import problems

import snaketune

COMMIT = "c0ffee" * 6 + "c0ff"
CARD = """---
configs:
- config_name: main
  default: true
  data_files:
  - {split: train, path: main/train.jsonl}
  - {split: test, path: main/test.jsonl}
  - {split: train_socratic, path: main/more.jsonl}
- config_name: alone
  data_files:
  - {split: train, path: main/train.jsonl}
- config_name: twice
  data_files:
  - {split: train, path: main/train.jsonl}
  - {split: val, path: main/test.jsonl}
  - {split: validation, path: main/more.jsonl}
---
"""


def _lines(records):
    return "".join(json.dumps(r) + "\n" for r in records)


FILES = {
    "README.md": CARD,
    "main/train.jsonl": _lines(problems(0, 20)),
    "main/test.jsonl": _lines(problems(30, 35)),
    "main/more.jsonl": _lines(problems(0, 1)),
}


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/demo/problems/tree/"):
            self._json([self._entry(name) for name in FILES])
        elif path.startswith("/api/datasets/demo/problems"):
            self._json({"_id": "1", "id": "demo/problems", "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/datasets/demo/problems/resolve/{COMMIT}/"):
            self._file(path.partition(f"{COMMIT}/")[2])
        else:
            self._send(404, b"", {})

    do_HEAD = do_GET  # noqa: N815

    def _entry(self, name):
        oid = hashlib.sha1(FILES[name].encode()).hexdigest()
        return {"type": "file", "path": name, "size": len(FILES[name]), "oid": oid}

    def _json(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, name):
        if name not in FILES:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = f'"{self._entry(name)["oid"]}"'
        self._send(200, FILES[name].encode(), {"ETag": etag, "X-Repo-Commit": COMMIT})

    def _send(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


PROGRAM = """
import json, sys
from snaketune.config.dataset import DatasetSpec
from prepared_data import prepared_from
from snaketune.runtime.errors import UserError
try:
    found = prepared_from(DatasetSpec.model_validate(json.loads(sys.argv[1])))
    answer = [found.manifest, [e.source for e in found.splits["test"]]]
except UserError as error:
    answer = str(error)
print("ANSWER", json.dumps(answer))
"""


def _prepare(home, endpoint, source="hub:demo/problems", **settings):
    """The manifest and sources of the test rows, or the error, from a process of its own: the
    libraries read their environment when they are imported."""
    spec = {"source": source, "format": "gsm8k", "dev": 3, **settings}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
    if not endpoint:
        environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(spec)],
        cwd=Path(snaketune.__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "ANSWER" in done.stdout, done.stderr
    return json.loads(done.stdout.partition("ANSWER ")[2])


def test_a_test_split_is_drawn_unless_it_is_there(hub, tmp_path):
    draw = {"test": 0.2, "at_most": 1000, "unless_there": True}
    manifest, _ = _prepare(tmp_path, hub, subset="alone", revision="v1", draw=draw)
    assert [manifest["splits"][s]["out"] for s in ("train", "dev", "test")] == [13, 3, 4]
    manifest, sources = _prepare(tmp_path, hub, subset="main", revision="v1", draw=draw)
    assert [manifest["splits"][s]["out"] for s in ("train", "dev", "test")] == [17, 3, 5]
    assert set(sources) == {"hub:demo/problems/test"}


def test_splits_commit_and_unused_splits(hub, tmp_path):
    manifest, sources = _prepare(tmp_path, hub, subset="main", revision="v1")
    assert [manifest["splits"][s]["out"] for s in ("train", "dev", "test")] == [17, 3, 5]
    assert manifest["unused"] == ["train_socratic"]
    assert {s["commit"] for s in manifest["sources"]} == {COMMIT}
    assert [s["records"] for s in manifest["sources"]] == [20, 5]
    assert set(sources) == {"hub:demo/problems/test"}
    # At its commit a dataset that was loaded once is found again without the network.
    again = _prepare(tmp_path, "", subset="main", revision=COMMIT)
    assert again == [manifest, sources]
    # Another commit is not found there, and the one that is must not stand in for it.
    other = _prepare(tmp_path, "", subset="main", revision="0" * 40)
    assert f"found only commit {COMMIT} in the local cache" in other


def test_one_split_and_limit(hub, tmp_path):
    source = {"test": "hub:demo/problems"}
    manifest, _ = _prepare(tmp_path, hub, source, limit=2, dev=0)
    assert manifest["splits"]["test"]["out"] == 2
    assert manifest["splits"]["train"]["in"] == 0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"source": "hub:demo/nothing"}, "hub:demo/nothing: found "),
        ({"subset": "nope"}, "'nope' not found. Available: ['main', 'alone', 'twice']"),
        ({"subset": "twice"}, "found the splits val, validation, which all speak of dev"),
        ({"source": {"dev": "hub:demo/problems"}, "dev": 0}, "train, test, train_socratic"),
    ],
)
def test_what_is_not_there(hub, tmp_path, settings, word):
    assert word in _prepare(tmp_path, hub, **settings)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", ""])
def test_unreachable_hub_says_how_to_use_local_data(tmp_path, endpoint):
    message = _prepare(tmp_path, endpoint)
    assert message.startswith("hub:demo/problems: found ")
    assert "local file (.jsonl, .json, .csv, .parquet), a folder with train and test" in message
    assert "save_to_disk" in message
