"""What was found to run too little or too much, row by row, each with the right answer.

Here each is a dry run, or a test of its own where it takes more than that. `test_chains` executes
them: the rows of learning rate, seed, template, new run, label, licence and a test row in "what was
found" and "more runs and rows"; weights in "weights"; shards and samples, with logs that say that
no model was loaded, in "shards and judges" and "samples and options". That keys which stand twice
are faults is tests/unit/test_config_written.py, and tests/workflow/test_bad_input.py as a user
sees it.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from project_copy import PARTS, Project
from stale.chain import NOTHING
from stale.edit import config_after, expected_after
from stale.edits import BY_NAME
from stale.edits_files import LIBRARY, commented
from stale.experiment import CONFIG, R, config_of, copied, write_config
from stale.starts import ARGUMENTS, fault_of, planned

ROWS = {
    "a learning rate beside a new dataset": ["a learning rate, with a new dataset"],
    "a space in a chat template": ["a space in a chat template"],
    "a space in the judge's chat template": ["a space in the judge's chat template"],
    "a seed beside a new dataset and an eval on it": [
        "a run's seed, with a new dataset and an eval on it"
    ],
    "a new run and an unused dataset": ["a new run with another seed, and an unused dataset"],
    "code as a pull changes it": ["remarks in ten library files"],
    "weights overwritten with zeros": ["a model's weights overwritten with zeros"],
    "a licence": ["datasets.problems.licence=MIT"],
    "a limit of rejected records": ["datasets.problems.rejected_at_most=0.5"],
    "a test row": ["a test row of problems"],
    "few_shot.count": ["datasets.problems.few_shot.count=9"],
    "touch of data": ["touch data/stale/problems/train.jsonl"],
    "touch of weights, which are over 1 MB": ["touch data/demo/model/model.safetensors"],
    "a comment in errors.py": ["a remark in errors.py"],
    "shards": ["evals.safety.shards=2"],
    "samples": ["evals.samples.sampling.samples=3"],
    "a model's path written another way": ["models.tiny.id=./data/demo/model"],
    "a label": ["runs.low.label=The low one"],
    "keep on a finished preset": ["presets.quantised.keep=2"],
}


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished experiment that a test may change."""
    project = copied(finished, tmp_path / "project")
    write_config(project, CONFIG)
    return project


@pytest.mark.parametrize("row", ROWS)
def test_what_was_found_is_right_in_the_first_start(finished: Project, row: str) -> None:
    edits = [BY_NAME[name] for name in ROWS[row]]
    code, output = planned(finished, edits)
    fault = fault_of(edits, code, output, expected_after(CONFIG, edits, dry=True))
    assert not fault, fault


def test_a_finished_preset_says_that_its_weights_are_gone(finished: Project) -> None:
    _, output = planned(finished, [BY_NAME["presets.quantised.keep=2"]])
    assert "run low was trained before presets.quantised.keep was 2" in output


def test_a_new_clone_is_the_same(project: Project) -> None:
    """git and rsync give files the time at which they write them."""
    for part in PARTS:
        path = project.folder / part
        for file in [path] if path.is_file() else path.rglob("*"):
            file.touch()
    assert NOTHING in project.run("--dry-run", *ARGUMENTS)


def test_a_half_trained_run_goes_on_after_a_comment(project: Project) -> None:
    longer = {"method": "qlora", "epochs": 2, "eval_per_epoch": 4, "batch_size": 4}
    config = config_of("low")
    config["presets"]["quantised"] = longer
    write_config(project, config)
    log = project.folder / R / "logs/train/low.log"
    target = [str(R / "train/low/train_meta.json"), *ARGUMENTS]
    warn_while_training(project, target, log)
    for name in ("runtime/errors.py", "training/step.py"):
        file = project.folder / LIBRARY / name
        file.write_text(commented(file.read_text()))
    project.run(*target)
    assert "going on from step" in log.read_text()


def warn_while_training(project: Project, target: list[str], log: Path) -> None:
    """Ends the training as a cluster does, once it has made some steps."""
    log.unlink()
    process = subprocess.Popen(
        project.command(*target),
        cwd=project.folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (log.is_file() and "dev loss" in log.read_text()):
        assert process.poll() is None, "it ended before it was warned"
        time.sleep(0.02)
    for child in psutil.Process(process.pid).children(recursive=True):
        if any(part.endswith(".train.py") and " " not in part for part in child.cmdline()):
            child.send_signal(signal.SIGTERM)
    assert process.wait(timeout=600) != 0, "it ended by itself before it was warned"


def test_strictly_what_other_code_made_is_made_again_once(project: Project) -> None:
    """And a plain start then makes nothing, nor does another strict one."""
    edits = [BY_NAME["other code in measure.py, strictly"]]
    write_config(project, config_after(CONFIG, edits))
    script = project.folder / "workflow/scripts/measure.py"
    script.write_text(f"{script.read_text()}\n_MORE = 1\n")
    project.run(*ARGUMENTS)
    assert NOTHING in project.run("--dry-run", *ARGUMENTS)
    write_config(project, CONFIG)
    assert NOTHING in project.run("--dry-run", *ARGUMENTS)
