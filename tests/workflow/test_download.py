"""Nodes without a network: everything is fetched beforehand, then the hub is switched off."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import Project
from hub import COMMIT, serve

CONFIG = {
    "experiment": "offline",
    "models": {
        name: {"id": f"demo/{name}", "revision": "v1"} for name in ("tiny", "judge", "reward")
    },
    "datasets": {
        "prompts": {"source": "data/demo/safety/prompts.csv", "format": "ailuminate"},
        "problems": {"source": "hub:demo/problems", "revision": "v1", "format": "gsm8k", "dev": 9},
    },
    "presets": {"short": {"method": "qlora", "max_steps": 2, "max_length": 512}},
    "evals": {
        "math": {
            "task": "math",
            "dataset": "problems",
            "sample": {"count": 4, "seed": 1},
            "max_new_tokens": 8,
        },
        "samples": {
            "task": "math",
            "dataset": "problems",
            "sample": {"count": 2, "seed": 1},
            "max_new_tokens": 8,
            "sampling": {"samples": 2, "at": [1, 2], "reward": "reward"},
        },
        "safety": {
            "task": "safety",
            "dataset": "prompts",
            "judge": "judge",
            "sample": {"count": 4, "seed": 1},
            "max_new_tokens": 8,
        },
    },
    "runs": {"short": {"model": "tiny", "preset": "short", "train": "problems"}},
}
CARD = """---
configs:
- config_name: default
  data_files: [{split: train, path: train.jsonl}, {split: test, path: test.jsonl}]
---
"""


@pytest.fixture
def repositories(project: Project) -> dict[str, Path]:
    """The demo's models and data as repositories of a hub, and no longer in the project."""
    shelf = project.folder.parent / "hub"
    data = project.folder / "data/demo"
    (shelf / "problems").mkdir(parents=True)
    models = {"tiny": "model", "judge": "judge", "reward": "reward"}
    for folder in models.values():
        shutil.move(data / folder, shelf / folder)
    for split in ("train", "test"):
        shutil.move(data / f"math/{split}.jsonl", shelf / "problems")
    (shelf / "problems/README.md").write_text(CARD)
    (project.folder / "offline.yaml").write_text(yaml.safe_dump(CONFIG))
    found = {f"demo/{name}": shelf / folder for name, folder in models.items()}
    return found | {"datasets/demo/problems": shelf / "problems"}


def snakemake(project: Project, *arguments: str, **hub: str) -> subprocess.CompletedProcess:
    """With a hub cache of its own and no settings for the hub but those given."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(project.folder.parent / "cache"), "OMP_NUM_THREADS": "1", **hub}
    environment["SNAKETUNE_CACHE"] = str(project.folder.parent / "nf4")
    return subprocess.run(
        project.command(*arguments, "--configfile", "offline.yaml"),
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_all_runs_without_the_hub_after_a_download(
    project: Project, repositories: dict[str, Path]
) -> None:
    off = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    early = snakemake(project, "--keep-going", **off)
    assert early.returncode != 0, "nothing was fetched yet"
    log = (project.folder / "results/offline/logs/pin_model/tiny.log").read_text()
    assert "model demo/tiny: the model hub can't be reached" in log
    assert "Traceback" not in log

    with serve(repositories) as (address, asked):
        fetched = snakemake(project, "download", HF_ENDPOINT=address)
        assert fetched.returncode == 0, fetched.stdout[-4000:]
        for name in ("tiny", "judge", "reward"):
            weights = f"demo/{name}/resolve/"
            assert any(weights in p and p.endswith("model.safetensors") for p in asked), name
    results = project.folder / "results/offline"
    assert not (results / "train").exists(), "fetching is all that it does"
    about = json.loads((results / "models/tiny.json").read_text())
    assert (about["revision"], about["commit"]) == ("v1", COMMIT)
    manifest = json.loads((results / "data/problems/manifest.json").read_text())
    assert manifest["sources"][0]["commit"] == COMMIT

    done = snakemake(project, **off)
    assert done.returncode == 0, done.stdout[-6000:]
    assert (results / "report.html").is_file()
    for kind in ("verdicts", "rewards"):
        assert len(list((results / kind).glob("*/*.jsonl"))) == 2, "of the base and of the run"
