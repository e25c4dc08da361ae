"""Model cards, and uploads to a local server that speaks the part of the hub's interface that an
upload uses."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from snaketune.publish.card import card

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
TOKEN = "hf_" + "s" * 34
ABOUT = {
    "base_model": "owner/base",
    "train_data": "problems",
    "data_licence": "MIT",
    "method": "qlora",
    "preset": {"epochs": 1.0, "lora": {"r": 8, "targets": ["q", "v"]}},
    "merged": False,
}


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        server.tokens.add(self.headers.get("Authorization"))
        if server.refuse:
            self._json({"error": "forbidden"}, 403)
        elif self.path == "/api/repos/create":
            server.made.append(json.loads(body))
            self._json({"url": f"http://127.0.0.1:{server.server_port}/me/tuned"})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path == "/api/models/me/tuned/preupload/main":
            names = [f["path"] for f in json.loads(body)["files"]]
            said = {"uploadMode": "regular", "shouldIgnore": False}
            self._json({"files": [{"path": name, **said} for name in names]})
        elif self.path == "/api/models/me/tuned/commit/main":
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    server.files[entry["value"]["path"]] = content
            url = f"http://127.0.0.1:{server.server_port}/me/tuned/commit/c0ffee"
            self._json({"commitUrl": url, "commitOid": "c0ffee", "success": True})
        else:
            self._json({"error": self.path}, 404)

    def _json(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.made, server.files, server.tokens, server.refuse = [], {}, set(), False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def upload(hub, folder, token=TOKEN, **settings):
    """In a process of its own: the library reads its address when it is imported."""
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    spec = {"repo": "me/tuned", "private": True, "merged": False}
    code = (
        "import json, sys; from pathlib import Path\n"
        "from snaketune.publish.push import files_in, push\n"
        "from snaketune.errors import UserError\n"
        "try:\n"
        f"    print(json.dumps(push({spec!r}, files_in([Path('adapter')]), '# card')))\n"
        "except UserError as error: sys.exit(str(error))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(folder / "home"),
        "PYTHONPATH": str(SCRIPTS),
        **({"HF_TOKEN": token} if token else {}),
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_files_and_card_go_up_in_one_commit(hub, tmp_path):
    done = upload(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(hub.files) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert hub.files["README.md"] == b"# card"
    assert hub.files["adapter_model.safetensors"] == b"\0" * 100
    assert hub.made[0]["visibility"] == "private"
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert json.loads(done.stdout)["commit"] == "c0ffee"
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "refuse", "expected"),
    [
        ({"token": None}, False, "found no token, expected one in the environment (HF_TOKEN)"),
        ({}, True, "push to me/tuned: the hub answered 403"),
        ({"HF_HUB_OFFLINE": "1"}, False, "the hub can't be reached"),
    ],
)
def test_what_keeps_an_upload_from_going_through_is_said_in_a_line(
    hub, tmp_path, settings, refuse, expected
):
    hub.refuse = refuse
    done = upload(hub, tmp_path, **settings)
    assert done.returncode == 1
    assert expected in done.stderr and "Traceback" not in done.stderr
    assert TOKEN not in done.stderr and hub.files == {}


def test_a_card_has_the_numbers_with_their_intervals(tmp_path):
    found = {"metric": "accuracy", "value": 0.75, "low": 0.7, "high": 0.8, "n": 320}
    run = {
        "run": "simple",
        "evals": {"math": found, "safety": found | {"value": None, "low": None, "n": 0}},
        "base_evals": {"math": found | {"value": 0.5}},
    }
    (tmp_path / "final.json").write_text(json.dumps({"experiment": "demo", "runs": [run]}))
    (tmp_path / "comparisons.csv").write_text(
        "run,eval,metric,p\nsimple,math,accuracy,0.00012\nother,math,accuracy,0.5\n"
    )
    text = card(tmp_path / "final.json", tmp_path / "comparisons.csv", "simple", ABOUT)
    assert "| math | accuracy | 0.500 | 0.750 | 0.700 to 0.800 | 320 | 0.00012 |" in text
    assert "| safety | accuracy | – | – | – | 0 | – |" in text
    assert "| lora_r | 8 |" in text and "`problems` (data under MIT)" in text
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["base_model"] == "owner/base" and metadata["library_name"] == "peft"
    merged = card(
        tmp_path / "final.json",
        tmp_path / "comparisons.csv",
        "simple",
        ABOUT | {"merged": True},
    )
    assert yaml.safe_load(merged.split("---")[1])["library_name"] == "transformers"
