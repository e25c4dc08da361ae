"""What gives access stays where it was given: in no message, log, param or file that is written."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.dataset import DatasetSpec
from snaketune.config.read import load_experiment, write_resolved
from snaketune.data import steps
from snaketune.data.locate import source_parts
from snaketune.data.sources.remote import download
from snaketune.runtime.errors import UserError, in_terminal, unsigned_text
from snaketune.runtime.job import job

ROOT = Path(__file__).parents[2]
PLANTED = "PLANTED7f3a"
SIGNED = f"https://x.org/a.jsonl?sig={PLANTED}&until=9"


@pytest.fixture(autouse=True)
def _signals_stay_pytests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snaketune.runtime.job.end_on_preemption", lambda: None)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (f"see {SIGNED}, once", "see https://x.org/a.jsonl?…"),
        (f"'{SIGNED}'", "'https://x.org/a.jsonl?…'"),
        (f"https://me:{PLANTED}@x.org/a", "https://…@x.org/a"),
        (f"https://{PLANTED}@x.org/a?b={PLANTED}", "https://…@x.org/a?…"),
        ("https://x.org/@me/a", "https://x.org/@me/a"),
        ("an `https://` address? yes", "an `https://` address? yes"),
        ("what? a@b", "what? a@b"),
    ],
)
def test_addresses_are_shown_without_what_gives_access(text: str, plain: str) -> None:
    assert unsigned_text(text).startswith(plain)
    assert PLANTED not in in_terminal(text) + str(UserError(text))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("datasets.problems.source", SIGNED.replace("https", "http")),
        ("datasets.problems.source", [SIGNED]),
        ("datasets.problems.source", {"trian": SIGNED}),
        ("datasets.problems.source", f"https://me:{PLANTED}@x.org/a.csv"),
        ("datasets.problems.source", SIGNED.replace("a.jsonl", "train_test.jsonl")),
        ("datasets.problems.catalogue", {"source": SIGNED, "join_on": ["a"], "columns": ["b"]}),
        ("datasets.problems.few_shot", {"file": SIGNED}),
        ("models.tiny.id", SIGNED),
        ("runs.simple.predictions", {"math": SIGNED}),
        ("runs.simple", SIGNED),
        ("datasets.problems.limit", SIGNED),
    ],
)
def test_a_fault_of_an_address_does_not_repeat_its_signature(
    key: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snaketune.config.checks import data_files

    monkeypatch.chdir(ROOT)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    *sections, last = key.split(".")
    node = config
    for section in sections:
        node = node[section]
    node[last] = value
    with pytest.raises(UserError) as error:
        data_files(load_experiment(config, [ROOT / "config/config.yaml"]), [])
    assert PLANTED not in str(error.value)


def test_no_param_and_no_written_config_has_a_signature(tmp_path: Path) -> None:
    """What Snakemake keeps in its metadata, and prints where params have changed."""
    spec = DatasetSpec(source={"train": SIGNED, "test": SIGNED}, format="gsm8k", dev=3)
    kept = [
        steps.split_settings(spec, ["train", "test"], False),
        steps.held_out_settings(spec, False),
        steps.few_shot_settings(spec, False),
        steps.shown_settings(spec, False),
        steps.manifest_settings(spec),
        steps.split_content(spec, ["train"]),
        steps.paths_by_name(spec, "train"),
        [part.name for part in source_parts(spec)],
    ]
    assert PLANTED not in json.dumps(kept)
    changed = DatasetSpec(source=SIGNED.replace("until=9", "until=10"), format="gsm8k")
    same = DatasetSpec(source=SIGNED, format="gsm8k")
    addresses = [steps.split_settings(s, ["train"], False)["addresses"] for s in (same, changed)]
    assert addresses[0] != addresses[1], "another address is another source"
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["datasets"]["problems"]["source"] = {"train": SIGNED, "test": SIGNED}
    write_resolved(load_experiment(config, []), tmp_path / "config.yaml")
    assert PLANTED not in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize(
    "url", [f"https://127.0.0.1:9/a.jsonl?sig={PLANTED}", f"https://127.0.0.1:9/a?b {PLANTED}"]
)
def test_a_download_that_fails_does_not_tell_the_signature(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        download(url, tmp_path / "file")
    assert PLANTED not in str(error.value) and "127.0.0.1" in str(error.value)


def test_a_log_has_no_signature_even_in_a_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(SystemExit), job(str(log)):
        print(f"asking {SIGNED}")
        print(f"https://me:{PLANTED}@x.org", file=sys.stderr)
        raise RuntimeError(f"could not reach {SIGNED}")
    text = log.read_text()
    assert "Traceback" in text and PLANTED not in text
