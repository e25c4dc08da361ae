"""What jobs asked for beside what they used: by the config, and by the jobs' own records."""

import json
from pathlib import Path

import pytest
import yaml
from synthetic_results import make_report_inputs

from snaketune.config.load import load_experiment, write_resolved
from snaketune.plan.estimate import Estimate
from snaketune.plan.resources import Requests, requests_of
from snaketune.report.page import write_report
from snaketune.report.sources import ReportSources
from snaketune.report.training import usage_rows
from snaketune.runtime.files import write_json
from snaketune.runtime.machine import resource_usage

GB, HOUR = 10**9, 60
DEMO = Path(__file__).parents[2] / "config/config.yaml"
ASKED = Requests(
    {"simple": Estimate(6 * GB, 2 * GB, HOUR), "medium": Estimate(6 * GB, 2 * GB, HOUR)},
    {
        ("base-tiny-nf4", "safety"): Estimate(5 * GB, 1 * GB, HOUR),
        ("simple", "safety"): Estimate(7 * GB, 1 * GB, 2 * HOUR),
        ("medium", "gsm8k-few_shot_5"): Estimate(5 * GB, 1 * GB, HOUR),
    },
    {("simple", "safety"): Estimate(4 * GB, 3 * GB, HOUR)},
)


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
        write_json(folder / name, meta | figures)
    return folder, plan, inputs


def test_the_largest_figures_of_each_kind_stand_side_by_side(made) -> None:
    _, plan, inputs = made
    sources = ReportSources(plan, inputs, {"simple": "LoRA 8"}, ASKED)
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
    for asked, shown in ((ASKED, True), (None, False)):
        write_report(plan, inputs, {}, folder / "report.html", folder / "figures", asked)
        html = (folder / "report.html").read_text()
        assert ("What jobs asked for and what they used" in html) == shown
        assert ("more than asked for" in html) == shown
        assert ("GPU memory expected" in html) == shown
        assert "main memory bytes" not in html


def test_asked_is_what_the_config_says_else_the_estimate(tmp_path: Path) -> None:
    config = yaml.safe_load(DEMO.read_text())
    config["resources"] = {"memory_gb": 9}
    config["runs"]["strong"]["resources"] = {"memory_gb": 20, "minutes": 77}
    write_resolved(load_experiment(config, [DEMO]), tmp_path / "config.yaml")
    asked = requests_of(tmp_path / "config.yaml")
    assert asked.training.keys() == set(config["runs"])
    assert (asked.training["strong"].memory, asked.training["strong"].minutes) == (20 * GB, 77)
    assert asked.training["simple"].memory == 9 * GB
    assert asked.training["simple"].minutes == 30
    assert asked.evaluation["strong", "safety"].minutes == 77
    assert asked.evaluation["base-tiny-nf4", "safety"].memory == 9 * GB
    assert asked.helpers["strong", "safety"].memory == 20 * GB
    assert asked.helpers["strong", "safety"].minutes == 77
    assert asked.helpers["base-tiny-nf4", "safety"].memory == 9 * GB
    assert not any(protocol.startswith("math") for _, protocol in asked.helpers)
    assert requests_of(tmp_path / "none.yaml") == Requests()


def test_use_is_measured_by_the_process_itself() -> None:
    import psutil

    before = resource_usage()
    block = bytearray(300 * 10**6)
    after = resource_usage(2)
    resident = psutil.Process().memory_info().rss
    assert len(block) <= resident * 1.1
    assert after["main_memory_bytes"] >= 2 * 0.95 * resident
    assert after["job_seconds"] >= before["job_seconds"] > 0
