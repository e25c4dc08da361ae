"""The real files: everything prepared, nothing rejected, golds as an independent parser reads
them."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from prepared_data import prepared

from snaketune.config.evaluation import SampleSpec
from snaketune.data.sampling import take

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
    sample = take(found.splits["test"], SampleSpec(fraction=0.2, seed=42))
    assert (len(sample), sample[0].record) == (263, take(range(1, 1320), SampleSpec(count=1))[0])


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
