"""Seeded subsets are the recipe's."""

import json

import numpy as np
import pytest
from prepared_data import prepared_from, write_lines

from snaketune.config.dataset import DatasetSpec, SampleSpec
from snaketune.data.example import take_sample
from snaketune.runtime.errors import UserError

# Printed by the recipe's own line; they pin NumPy's generator too.
FIRST = [30, 754, 429, 1010, 1284, 953, 751, 954]


def test_fifth_of_gsm8k_test_is_the_recipe_subset():
    taken = take_sample(range(1319), SampleSpec(fraction=0.2, seed=42))
    assert len(taken) == 263
    assert taken == np.random.default_rng(42).permutation(1319)[:263].tolist()
    assert taken[:8] == FIRST


@pytest.mark.parametrize(
    ("total", "sample", "size"),
    [
        (10, None, 10),
        (10, SampleSpec(count=4), 4),
        (3, SampleSpec(count=4), 3),
        (3, SampleSpec(fraction=0.2), 1),
        (0, SampleSpec(fraction=0.2), 0),
        (1319, SampleSpec(fraction=1.0), 1319),
    ],
)
def test_sizes(total, sample, size):
    taken = take_sample(range(total), sample)
    assert len(taken) == len(set(taken)) == size


def test_without_a_sample_the_order_stays():
    assert take_sample([3, 1, 2], None) == [3, 1, 2]


def visits(path, patients=12, each=5):
    rows = [{"patient": f"P{p}", "note": f"note {p} {i}", "label": "ab"[(p + i) % 2]}
            for p in range(patients) for i in range(each)]  # fmt: skip
    write_lines(path, rows)
    return {
        "source": str(path),
        "format": "table",
        "columns": {"question": "note", "label": "label"},
        "labels": ["a", "b"],
        "group": "patient",
    }


def patients_of(examples):
    return [json.loads(example.meta)["group"] for example in examples]


@pytest.mark.parametrize("asked", [9, 10, 11])
def test_a_draw_by_group_leaves_no_group_on_both_sides(tmp_path, asked):
    spec = visits(tmp_path / "v.jsonl") | {
        "draw": {"test": asked},
        "dev": 7,
        "few_shot": {"count": 2},
    }
    found = prepared_from(DatasetSpec.model_validate(spec))
    splits = {name: patients_of(examples) for name, examples in found.splits.items()}
    sides = [set(names) for names in splits.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert sum(map(len, splits.values())) == 60
    assert len(splits["test"]) == (10 if asked <= 10 else 15)
    assert len(splits["dev"]) == 10


def test_groups_that_leave_nothing_to_train_on_are_refused(tmp_path):
    spec = visits(tmp_path / "v.jsonl", patients=2) | {"draw": {"test": 6}}
    with pytest.raises(UserError, match="expected other groups to train on"):
        prepared_from(DatasetSpec.model_validate(spec))


def test_a_record_without_its_group_is_rejected(tmp_path):
    spec = visits(tmp_path / "v.jsonl") | {"group": "doctor"}
    with pytest.raises(UserError, match="doctor"):
        prepared_from(DatasetSpec.model_validate(spec))
