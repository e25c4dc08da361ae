"""The demo's inputs, in every format that they are shipped in."""

from pathlib import Path

import pytest
from prepared_data import prepared

DEMO = Path(__file__).parents[2] / "data" / "demo"


def _content(examples):
    return [(e.question, e.answer, e.gold) for e in examples]


@pytest.fixture(scope="module")
def problems():
    return prepared(DEMO / "math", dev=100)


def test_problems(problems):
    counts = problems.manifest["splits"]
    assert all(not counts[split]["rejected"] for split in counts)
    assert counts["test"]["out"] >= 300
    assert counts["dev"]["out"] == 100
    found = problems.manifest["leakage"]["comparisons"]
    assert found["test in train"]["exact"] == found["test in few_shot"]["exact"] == 0


@pytest.mark.parametrize("name", ["math_test.json", "math_test.csv", "math_test.parquet"])
def test_files_hold_the_first_test_problems(problems, name):
    found = prepared(DEMO / "formats" / name).splits["test"]
    assert _content(found) == _content(problems.splits["test"][:20])


def test_saved_folder(problems):
    found = prepared(DEMO / "formats" / "math_dataset").splits
    assert _content(found["test"]) == _content(problems.splits["test"][:20])
    assert len(found["train"]) == 20


def test_prompts():
    found = prepared(DEMO / "safety" / "prompts.csv", "ailuminate")
    assert found.manifest["splits"]["test"] == {"in": 120, "out": 120, "rejected": {}}
