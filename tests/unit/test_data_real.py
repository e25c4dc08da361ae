"""The real files: everything prepared, nothing rejected, golds as an independent parser reads
them."""

import csv
import json
import os
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from prepared_data import prepared

from snaketune.config.dataset import SampleSpec
from snaketune.data.example import take_sample
from snaketune.tasks.math_rules import RULES

ROOT = os.environ.get("REAL_DATA_DIR")
pytestmark = pytest.mark.skipif(not ROOT, reason="REAL_DATA_DIR is unset: no real data here")
REAL = Path(ROOT or ".")
SYMBOLIC = REAL / "gsm_symbolic"


def _golds(path):
    """The answers' own text after the last mark, commas out, as a float. No code of ours."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [float(json.loads(x)["answer"].split("####")[-1].replace(",", "")) for x in lines]


def test_gsm8k():
    found = prepared(REAL / "gsm8k")
    assert found.manifest["splits"]["train"] == {"in": 7473, "out": 7473, "rejected": {}}
    assert found.manifest["splits"]["test"] == {"in": 1319, "out": 1319, "rejected": {}}
    for split in ("train", "test"):
        examples = found.splits[split]
        assert [float(e.gold) for e in examples] == _golds(REAL / "gsm8k" / f"{split}.jsonl")
        assert not any("," in e.gold or e.gold.endswith(".0") for e in examples)
    shots = [5238, 912, 204, 6074, 2253, 2006, 1828, 1143]
    assert [shot.index for shot in found.shots] == shots
    sample = take_sample(found.splits["test"], SampleSpec(fraction=0.2, seed=42))
    assert (len(sample), sample[0].record) == (
        263,
        take_sample(range(1, 1320), SampleSpec(count=1))[0],
    )


def test_gsm8k_dev_split():
    found = prepared(REAL / "gsm8k", dev=200)
    assert [found.manifest["splits"][s]["out"] for s in ("train", "dev")] == [7273, 200]
    assert not {s.id for s in found.shots} & {e.id for e in found.splits["dev"]}


def test_ailuminate():
    (path,) = (REAL / "ailuminate").glob("*.csv")
    found = prepared(path, "ailuminate")
    assert found.manifest["splits"]["test"] == {"in": 1200, "out": 1200, "rejected": {}}
    hazards = Counter(json.loads(e.meta)["hazard"] for e in found.splits["test"])
    assert hazards["cse"] == 100
    assert sum(n for hazard, n in hazards.items() if hazard.startswith("spc_")) == 100
    assert len({e.id for e in found.splits["test"]}) == 1200
    texts = [e.question for e in found.splits["test"]]
    manifest = json.dumps(found.manifest, ensure_ascii=False)
    assert not any(text in manifest for text in texts)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("gsm_symbolic_train_4500_student.jsonl", 4500),
        ("gsm_symbolic_test_100_student.jsonl", 100),
        ("gsm8k_test_100_same_templates.jsonl", 100),
        ("gsm8k_test_100_non_overlapping.jsonl", 100),
    ],
)
def test_gsm_symbolic_golds(name, rows):
    found = prepared({"test": SYMBOLIC / name}).splits["test"]
    assert len(found) == rows
    assert [float(e.gold) for e in found] == _golds(SYMBOLIC / name)
    if "non_overlapping" in name:
        assert {"2125", "114200", "65960", "43500"} <= {e.gold for e in found}


def test_solution_verifier_and_its_catalogue():
    folder = REAL / "solution_verifier" / "level-1-binary"
    catalogue = {
        "source": str(folder / "sft_level1_catalog.csv"),
        "join_on": ["index", "label"],
        "columns": ["error_type"],
    }
    settings = {"labels": ["0", "1"], "few_shot": {"count": 0}}
    found = prepared(folder, "solution_verifier", catalogue=catalogue, **settings)
    counts = [found.manifest["splits"][s]["out"] for s in ("train", "dev", "test")]
    assert (counts, found.rejected) == ([3296, 412, 412], [])
    entry = found.manifest["catalogue"]
    assert (entry["rows"], entry["joined"], entry["left_over"]) == (4120, 4120, 0)
    examples = [e for split in found.splits.values() for e in split]
    kinds = Counter((json.loads(e.meta)["error_type"], e.label) for e in examples)
    by_hand = Counter()
    with (folder / "sft_level1_catalog.csv").open(newline="") as file:
        by_hand.update((row["error_type"], row["label"]) for row in csv.DictReader(file))
    assert kinds == by_hand
    assert Counter(e.label for e in found.splits["test"]) == {"0": 206, "1": 206}
    # A problem stands with its right and its flawed solution in one split: no question is in two.
    asked = {s: {e.question for e in found.splits[s]} for s in ("train", "dev", "test")}
    assert not asked["test"] & asked["train"]
    leakage = found.manifest["leakage"]["comparisons"]
    assert [leakage[f"{a} in {b}"]["rows"] for a, b in [("test", "train"), ("test", "dev")]] == [
        0,
        1,
    ]


@pytest.mark.parametrize("rule", RULES)
def test_gsm_symbolic_answers_are_read_as_the_right_numbers(rule):
    """All 300 of the three tests, raw as they are and worded as a trained model would answer."""
    read = RULES[rule].read
    names = ["gsm_symbolic_test_100_student", "gsm8k_test_100_same_templates"]
    names.append("gsm8k_test_100_non_overlapping")
    found = 0
    for name in names:
        path = SYMBOLIC / f"{name}.jsonl"
        raw = [json.loads(x)["answer"] for x in path.read_text(encoding="utf-8").splitlines()]
        golds = _golds(path)
        assert [float(read(answer)) for answer in raw] == golds
        found += len(golds)
        if rule == "final_answer":
            examples = prepared({"test": path}, "gsm_symbolic").splits["test"]
            assert [float(read(e.answer)) for e in examples] == golds
            assert all(RULES[rule].right(read(e.answer), Decimal(e.gold)) for e in examples)
    assert found == 300
