"""What runs again after an edit, in short. `make test-stale` goes through every key of the config.

One run of the experiment there, some dry runs, and two starts.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from project_copy import Project
from stale.edit import expected_after
from stale.edits import BY_NAME, EDITS, leaf_keys, named_keys
from stale.experiment import config_of, new_project, write_config
from stale.listing import jobs_listed
from stale.starts import ARGUMENTS, fault_of, planned

from snaketune.config.experiment import Experiment

CONFIG = config_of("low")
PLANS = [
    ["a learning rate, with a new dataset"],
    ["a new run with another seed, and an unused dataset"],
    ["a space in a chat template"],
    ["a test row of problems", "datasets.problems.licence=MIT"],
    ["remarks in ten library files", "touch data/stale/problems/train.jsonl"],
    ["models.tiny.id=./data/demo/model", "a README in a model's folder"],
    ["version of judge"],
    ["runs.low.gguf=['f16']"],
    ["other code in few_shot.py, strictly", "other code in leakage.py, strictly"],
    ["other code in prepare.py, strictly", "other code in pin_model.py, strictly"],
]


def test_every_key_of_the_config_is_edited() -> None:
    named = named_keys(EDITS)
    missing = [
        key
        for key in leaf_keys(Experiment)
        if not any(fnmatchcase(path, key) or fnmatchcase(path, f"{key}.*") for path in named)
    ]
    assert missing == []


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The experiment with one run, finished. Tests leave it as they found it."""
    project = new_project(tmp_path_factory.mktemp("stale") / "project")
    write_config(project, CONFIG)
    project.run(*ARGUMENTS)
    return project


@pytest.mark.parametrize("names", PLANS, ids=" + ".join)
def test_a_dry_run_lists_what_must_run(low: Project, names: Sequence[str]) -> None:
    edits = [BY_NAME[name] for name in names]
    code, output = planned(low, edits, CONFIG)
    fault = fault_of(edits, code, output, expected_after(CONFIG, edits, dry=True))
    assert not fault, fault


def test_a_fault_in_the_data_is_met_before_anything_expensive(low: Project) -> None:
    rows = Path(low.folder / "data/stale/problems/train.jsonl")
    before = rows.read_text()
    write_config(low, CONFIG)
    rows.write_text(before + '{"question": "What is left?", "answer": "Nothing."}\n')
    done = low.snakemake(*ARGUMENTS)
    assert done.returncode != 0 and "rejected" in done.stdout
    kinds = {job.partition(":")[0] for job in jobs_listed(done.stdout)}
    # Rows of tokens are what the check of prompts reads: they may be made beside it.
    assert not any(kind.startswith(("train", "generate", "judge", "score")) for kind in kinds)
    rows.write_text(before)
