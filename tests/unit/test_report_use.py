"""What jobs asked for beside what they used: by the config, and by the jobs' own records."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from synthetic_results import make_report_inputs

from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.resources import training_request, write_requests
from snaketune.report.page import write_report
from snaketune.report.sources import ReportSources
from snaketune.report.training import usage_rows
from snaketune.runtime.files import write_json
from snaketune.runtime.machine import resource_usage

GB, HOUR = 10**9, 60
DEMO = Path(__file__).parents[2] / "config/config.yaml"


def request(memory: float, gpu_memory: float, minutes: float) -> dict[str, float]:
    return {"memory": memory, "gpu_memory": gpu_memory, "minutes": minutes}


ASKED = {
    "training": {
        # Of the counts that it may run on, the one that it ran on stands on the page.
        "simple": {"1": request(6 * GB, 2 * GB, HOUR), "2": request(12 * GB, 2 * GB, HOUR)},
        "medium": {"1": request(6 * GB, 2 * GB, HOUR)},
    },
    "evaluation": {
        "safety": {
            "base-tiny-nf4": request(5 * GB, 1 * GB, HOUR),
            "simple": request(7 * GB, 1 * GB, 2 * HOUR),
        },
        "gsm8k-few_shot_5": {"medium": request(5 * GB, 1 * GB, HOUR)},
    },
    "helpers": {"safety": {"simple": request(4 * GB, 3 * GB, HOUR)}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("use")
    plan, inputs = make_report_inputs(folder)
    used = {
        "train/simple/train_meta.json": (3 * GB, 1.5 * GB, 600),
        "train/medium/train_meta.json": (6.5 * GB, None, 600),
        "predictions/base-tiny-nf4/safety.meta.json": (2 * GB, 0.5 * GB, 30),
        "predictions/simple/safety.meta.json": (1 * GB, 0.7 * GB, 7000),
        "verdicts/simple/safety.meta.json": (2.5 * GB, 3.5 * GB, 60),
    }
    for name, (main, gpu, seconds) in used.items():
        meta = json.loads((folder / name).read_text())
        figures = {"main_memory_bytes": main, "gpu_memory_bytes": gpu, "job_seconds": seconds}
        processes = {"processes": 1} if name.startswith("train") else {}
        write_json(folder / name, meta | figures | processes)
    write_json(folder / "requests.json", ASKED)
    return folder, plan, replace(inputs, requests=folder / "requests.json")


def test_the_largest_figures_of_each_kind_stand_side_by_side(made) -> None:
    _, plan, inputs = made
    sources = ReportSources(plan, inputs, {"simple": "LoRA 8"})
    rows = {row["name"]: row for row in usage_rows(sources)}
    assert list(rows) == [
        "training of LoRA 8", "training of medium", "safety", "judging of safety",
    ]  # fmt: skip
    assert rows["training of LoRA 8"]["cells"] == [
        ("6 GB", "3 GB"), ("2 GB", "1.5 GB"), ("1 h", "10 min"),
    ]  # fmt: skip
    assert not rows["training of LoRA 8"]["over"]
    assert rows["training of medium"]["cells"][:2] == [("6 GB", "6.5 GB"), ("2 GB", "none")]
    assert rows["training of medium"]["over"]
    assert rows["safety"]["jobs"] == 2
    assert rows["safety"]["cells"] == [
        ("7 GB", "2 GB"), ("1 GB", "700 MB"), ("2 h", "1 h 56 min"),
    ]  # fmt: skip
    judged = rows["judging of safety"]
    assert judged["jobs"] == 1
    assert judged["cells"] == [("4 GB", "2.5 GB"), ("3 GB", "3.5 GB"), ("1 h", "1 min")]
    assert not judged["over"], "more of a GPU's memory than expected is no fault"


def test_the_page_has_the_table_where_there_is_something_to_show(made) -> None:
    folder, plan, inputs = made
    written, absent = folder / "requests.json", folder / "none.json"
    for asked, shown in ((written, True), (absent, False), (None, False)):
        given = replace(inputs, requests=asked)
        write_report(plan, given, {}, folder / "report.html", folder / "figures")
        html = (folder / "report.html").read_text()
        assert ("What jobs asked for and what they used" in html) == shown
        assert ("more than asked for" in html) == shown
        assert ("GPU memory expected" in html) == shown
        assert "main memory bytes" not in html


def test_asked_is_what_the_config_says_else_the_estimate(tmp_path: Path) -> None:
    config = yaml.safe_load(DEMO.read_text())
    config["resources"] = {"memory_gb": 9}
    config["runs"]["strong"]["resources"] = {"memory_gb": 20, "minutes": 77}
    experiment = load_experiment(config, [DEMO])
    write_requests(experiment, make_plan(experiment), tmp_path)
    asked = json.loads((tmp_path / ".work/requests.json").read_text())
    assert asked["training"].keys() == set(config["runs"])
    strong, simple = asked["training"]["strong"]["1"], asked["training"]["simple"]["1"]
    assert (strong["memory"], strong["minutes"]) == (20 * GB, 77)
    assert (simple["memory"], simple["minutes"]) == (9 * GB, 30)
    assert asked["evaluation"]["safety"]["strong"]["minutes"] == 77
    assert asked["evaluation"]["safety"]["base-tiny-nf4"]["memory"] == 9 * GB
    helpers = asked["helpers"]["safety"]
    assert (helpers["strong"]["memory"], helpers["strong"]["minutes"]) == (20 * GB, 77)
    assert helpers["base-tiny-nf4"]["memory"] == 9 * GB
    assert not any(protocol.startswith("math") for protocol in asked["helpers"])


def test_a_training_is_asked_for_with_every_number_of_processes(tmp_path: Path) -> None:
    """What it gets is known when it runs: any of the GPUs granted, or none; what it had, when it
    ran before."""
    config = yaml.safe_load(DEMO.read_text())
    config["runs"]["strong"]["gpu"] = 3
    experiment = load_experiment(config, [DEMO])
    write_json(tmp_path / "train/simple/train_meta.json", {"processes": 5})
    write_requests(experiment, make_plan(experiment), tmp_path)
    found = json.loads((tmp_path / ".work/requests.json").read_text())["training"]
    assert {run: list(found[run]) for run in ("strong", "simple", "medium")} == {
        "strong": ["1", "2", "3"], "simple": ["1", "5"], "medium": ["1"],
    }  # fmt: skip
    for run, by_count in found.items():
        for count, figures in by_count.items():
            asked = asdict(training_request(experiment, run, int(count)))
            assert figures == {k: v for k, v in asked.items() if k != "set_minutes"}


def test_use_is_measured_by_the_process_itself() -> None:
    import psutil

    before = resource_usage()
    block = bytearray(300 * 10**6)
    after = resource_usage(2)
    resident = psutil.Process().memory_info().rss
    assert len(block) <= resident * 1.1
    assert after["main_memory_bytes"] >= 2 * 0.95 * resident
    assert after["job_seconds"] >= before["job_seconds"] > 0
    assert after["energy_joules"] is None, "no device was claimed"
