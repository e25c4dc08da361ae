"""The gate by the real command: passed, failed and undecided, on predictions made elsewhere."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import yaml
from project_copy import Project
from test_given import experiment, scores
from warm_start import warm


def gate(project: Project, *arguments: str, target: str = "gate") -> subprocess.CompletedProcess:
    """The whole command: the profile says how many cores."""
    command = [sys.executable, "-m", "snakemake", target, "--configfile", "given.yaml", *arguments]
    return subprocess.run(
        command, cwd=project.folder, env=warm(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def configured(project: Project, **changes: object) -> None:
    file = project.folder / "given.yaml"
    config = yaml.safe_load(file.read_text()) | changes
    file.write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not None}))


def judged(project: Project, experiment: str = "given") -> dict:
    return json.loads((project.folder / f"results/{experiment}/tables/gate.json").read_text())


MARGIN = {"not_worse": {"even.accuracy": 0.05}}


def test_passed_failed_and_undecided(project: Project) -> None:
    experiment(project, {"before": scores(8), "after": scores(18)})
    configured(project, thresholds={"after": {"even.accuracy": 0.8}}, gate=MARGIN)
    done = gate(project)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Gate passed: 2 of 3 checks" in done.stdout
    assert "report" not in {line.strip() for line in done.stdout.splitlines()}, "no page is drawn"

    again = gate(project)
    assert again.returncode == 0
    assert "Gate passed" in again.stdout, "it judges at every call"

    configured(project, thresholds={"after": {"even.accuracy": 0.95}})
    missed = gate(project)
    assert missed.returncode == 1
    assert "after: even.accuracy at least 95.0 %: found 90.0 %" in missed.stdout
    assert "Traceback" not in missed.stdout
    suites = ElementTree.parse(project.folder / "results/given/tables/gate.xml").getroot()
    assert {suite.get("name"): suite.get("failures") for suite in suites} == {
        "after": "1",
        "before": "0",
    }
    assert gate(project).returncode == 1, "a gate that failed fails again"

    # As right as before, on 20 rows: too few to tell.
    lines = "\n".join(map(json.dumps, scores(8)))
    (project.folder / "after.jsonl").write_text(lines)
    configured(project, thresholds=None)
    open_ = gate(project)
    assert open_.returncode == 1
    assert judged(project)["outcome"] == "undecided"
    assert "the gate is undecided" in open_.stdout
    assert "about " in open_.stdout and " rows needed" in open_.stdout
    configured(project, gate={**MARGIN, "undecided": "pass"})
    assert gate(project).returncode == 0
    # Worse by more than any margin.
    (project.folder / "after.jsonl").write_text("\n".join(map(json.dumps, scores(0))))
    worse = gate(project)
    assert worse.returncode == 1
    assert judged(project)["outcome"] == "failed"
    assert "not worse than before by more than 5.0 points" in worse.stdout


def test_behind_all_and_against_an_earlier_experiment(project: Project) -> None:
    experiment(project, {"before": scores(8), "after": scores(18)})
    configured(project, gate={**MARGIN, "undecided": "pass"})
    first = gate(project, "--config", "gate=true", target="all")
    assert first.returncode == 0, first.stdout[-3000:]
    assert "Gate passed" in first.stdout
    assert (project.folder / "results/given/report.html").is_file()
    assert judged(project)["outcome"] == "passed", "the section of the file stays"

    (project.folder / "after.jsonl").write_text("\n".join(map(json.dumps, scores(9))))
    configured(project, experiment="later", gate={**MARGIN, "against": "results/given"})
    done = gate(project)
    assert done.returncode == 1
    assert "after in given" in done.stdout, "against the run of the same name there"
    outcomes = {check["check"]: check["outcome"] for check in judged(project, "later")["checks"]}
    assert (
        outcomes["even.accuracy not worse than after in given by more than 5.0 points"] == "failed"
    )
    assert outcomes["even.accuracy not worse than before by more than 5.0 points"] == "undecided"

    configured(project, gate={**MARGIN, "against": "results/never"})
    fault = gate(project, "-n")
    assert fault.returncode == 1
    assert "gate.against: found results/never, in which there is no" in fault.stdout
