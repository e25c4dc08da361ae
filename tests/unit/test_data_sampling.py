"""Seeded subsets are the recipe's."""

import itertools
import json
import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from prepared_data import prepared_from, problems, write_lines

from snaketune.config.changes import drawn_notes, with_test_splits
from snaketune.config.dataset import DatasetSpec, DrawnSplitsSpec, SampleSpec
from snaketune.config.experiment import Experiment
from snaketune.data.example import take_sample
from snaketune.data.prepare import prepare_split
from snaketune.data.split_draws import groups_alike
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


@pytest.mark.parametrize("train", [None, 17])
def test_both_sides_of_a_draw_by_group_stand_group_by_group(tmp_path, train):
    """In the order in which the permutation meets the groups; train as far as its number goes."""
    spec = visits(tmp_path / "v.jsonl") | {"draw": {"test": 11, "train": train}}
    found = prepared_from(DatasetSpec.model_validate(spec))
    order = [int(i) for i in np.random.default_rng(42).permutation(60)]
    met = list(dict.fromkeys(i // 5 for i in order))
    expected = [i for patient in met for i in order if i // 5 == patient]
    assert [e.record - 1 for e in found.splits["test"]] == expected[:15]
    rest = expected[15:] if train is None else expected[15 : 15 + train]
    assert [e.record - 1 for e in found.splits["train"]] == rest


def test_groups_that_leave_nothing_to_train_on_are_refused(tmp_path):
    spec = visits(tmp_path / "v.jsonl", patients=2) | {"draw": {"test": 6}}
    with pytest.raises(UserError, match="expected other groups to train on"):
        prepared_from(DatasetSpec.model_validate(spec))


def test_a_record_without_its_group_is_rejected(tmp_path):
    spec = visits(tmp_path / "v.jsonl") | {"group": "doctor"}
    with pytest.raises(UserError, match="doctor"):
        prepared_from(DatasetSpec.model_validate(spec))


# Shares and strata.


def table_of(path, labels, **draw):
    rows = [{"q": f"question {n}", "kind": label} for n, label in enumerate(labels)]
    write_lines(path, rows)
    return {
        "source": str(path),
        "format": "table",
        "columns": {"question": "q", "label": "kind"},
        "labels": sorted(set(labels)),
        "draw": draw,
    }


@pytest.mark.parametrize(
    ("rows", "draw", "test", "train"),
    [
        (60, {"test": 0.2}, 12, 48),
        (100, {"test": 0.29}, 29, 71),  # which as a product of floats are 28.999…
        (7, {"test": 0.1}, 1, 6),  # one at least
        (60, {"test": 0.2, "at_most": 11}, 11, 49),
        (60, {"test": 0.2, "at_most": 13}, 12, 48),
        (60, {"test": 10, "train": 0.5}, 10, 30),
        (60, {"test": 0.25, "train": 0.75}, 15, 45),
        (60, {"test": 20}, 20, 40),
    ],
)
def test_shares_are_rounded_down(tmp_path, rows, draw, test, train):
    spec = table_of(tmp_path / "d.jsonl", ["ab"[n % 2] for n in range(rows)], **draw)
    found = prepared_from(DatasetSpec.model_validate(spec))
    assert (len(found.splits["test"]), len(found.splits["train"])) == (test, train)
    order = np.random.default_rng(42).permutation(rows)
    assert [e.record - 1 for e in found.splits["test"]] == list(order[:test])


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        ({"test": 0}, "found 0, expected a number of records, or a share"),
        ({"test": 1.0}, "found 1.0, expected"),
        ({"test": -0.1}, "found -0.1, expected"),
        ({"test": 0.6, "train": 0.5}, "found the shares 0.6 and 0.5, expected 1 at most"),
        ({"test": 5, "at_most": 3}, "at_most: found 3 beside test: 5, no share"),
    ],
)
def test_what_no_draw_can_be(draw, words):
    with pytest.raises(ValueError, match=words):
        DrawnSplitsSpec.model_validate(draw)
    DrawnSplitsSpec.model_validate({"test": 0.5, "train": 0.5})


def test_a_draw_that_was_written_before_is_told_as_before():
    spec = DrawnSplitsSpec(test=5)
    assert spec.model_dump(mode="json") == {"test": 5, "train": None, "seed": 42}
    assert spec.model_copy(update={"stratify": "kind"}).model_dump()["stratify"] == "kind"


@pytest.mark.parametrize("seed", range(5))
def test_strata_are_within_a_record_of_their_share_as_sklearn_has_them(tmp_path, seed):
    from sklearn.model_selection import StratifiedShuffleSplit

    labels = ["a"] * 61 + ["b"] * 29 + ["c"] * 10
    spec = table_of(tmp_path / "d.jsonl", labels, test=0.2, train=30, stratify="kind", seed=seed)
    found = prepared_from(DatasetSpec.model_validate(spec))
    split = StratifiedShuffleSplit(1, test_size=20, train_size=30, random_state=seed)
    (train, test), *_ = split.split(np.zeros(100), labels)
    for name, peer in (("test", test), ("train", train)):
        own = Counter(e.label for e in found.splits[name])
        other = Counter(labels[i] for i in peer)
        size = len(peer)
        assert own.total() == size
        for label, share in Counter(labels).items():
            assert abs(own[label] - size * share / 100) < 1
            assert abs(own[label] - other[label]) <= 1
    records = [e.record for split in found.splits.values() for e in split]
    assert len(set(records)) == len(records) == 50


def test_strata_that_fit_no_test_split_are_refused(tmp_path):
    labels = [f"l{n}" for n in range(10)] * 2
    spec = table_of(tmp_path / "d.jsonl", labels, test=9, stratify="kind")
    with pytest.raises(UserError, match="found 10 values of kind with 9 test records"):
        prepared_from(DatasetSpec.model_validate(spec))
    spec["draw"]["test"] = 10
    found = prepared_from(DatasetSpec.model_validate(spec))
    assert len({e.label for e in found.splits["test"]}) == 10
    spec["draw"]["stratify"] = "sort"
    with pytest.raises(UserError, match="no record with a value of sort"):
        prepared_from(DatasetSpec.model_validate(spec))


def uneven(path, patients, seed):
    """Visits, a different number and mixture of labels for each patient."""
    draw = random.Random(seed)
    rows = []
    for patient in range(patients):
        share = draw.random()
        rows += [
            {"patient": f"P{patient}", "note": f"note {patient} {i}",
             "label": "ab"[draw.random() < share]}
            for i in range(draw.randint(1, 9))
        ]  # fmt: skip
    write_lines(path, rows)
    return rows, visits(path) | {"source": str(path)}


def off(rows, chosen):
    """How far labels are from their shares, in records."""
    everywhere, found = (Counter(r["label"] for r in of) for of in (rows, chosen))
    return sum(abs(found[k] - len(chosen) * everywhere[k] / len(rows)) for k in everywhere)


@pytest.mark.parametrize("seed", range(4))
def test_strata_in_whole_groups_are_as_near_as_any_choice_of_few_groups(tmp_path, capsys, seed):
    """Held against every choice of groups that a draw could make."""
    path = tmp_path / "v.jsonl"
    _, spec = uneven(path, 9, seed)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    spec |= {"draw": {"test": 0.3, "stratify": "label", "seed": seed}, "labels": ["a", "b"]}
    found = prepared_from(DatasetSpec.model_validate(spec))
    test = {e.record - 1 for e in found.splits["test"]}
    held = {rows[i]["patient"] for i in test}
    assert test == {i for i, row in enumerate(rows) if row["patient"] in held}, "groups are whole"
    count = int(Fraction("0.3") * len(rows))
    sizes = Counter(row["patient"] for row in rows)
    best = min(
        off(rows, [row for row in rows if row["patient"] in some])
        for size in range(1, 9)
        for some in itertools.combinations(sizes, size)
        # What a draw stops at: without one of them there would be too few.
        if any(sum(sizes[p] for p in some) - sizes[last] < count for last in some)
        and sum(sizes[p] for p in some) >= count
    )
    assert off(rows, [rows[i] for i in test]) == pytest.approx(best, abs=1.01)
    assert len(found.splits["train"]) == len(rows) - len(test)
    said = capsys.readouterr().out
    assert "label in the test split, as near as whole groups come: " in said
    share = Counter(rows[i]["label"] for i in test)["a"]
    assert f'"a" {share} of {len(test)} (' in said


def test_strata_in_many_groups_favour_no_size(tmp_path):
    """The groups that are held back are as large as the others, on average."""
    sizes = []
    for seed in range(12):
        draw = random.Random(seed)
        names = [f"P{p}" for p in range(150) for _ in range(1 + p % 9)]
        strata = [draw.choice("aab") for _ in names]
        held = groups_alike(names, strata, len(names) // 5, seed)
        counts = Counter(names)
        sizes += [counts[name] for name in held]
        chosen = [{"label": s} for n, s in zip(names, strata, strict=True) if n in held]
        assert off([{"label": s} for s in strata], chosen) <= 1
    assert sum(sizes) / len(sizes) == pytest.approx(5, abs=0.3)
    assert groups_alike(names, strata, 20, 1) == groups_alike(names, strata, 20, 1)


# Splits that nobody asked to draw.


def experiment_on(dataset, **evals):
    return Experiment.model_validate(
        {
            "experiment": "e",
            "models": {"m": {"id": "m"}},
            "datasets": {"d": dataset},
            "presets": {"p": {}},
            "evals": {"e": {"task": "math", "dataset": "d", **evals}},
            "runs": {"r": {"model": "m", "preset": "p", "train": "d"}},
        }
    )


@pytest.mark.parametrize(
    ("files", "source", "evals", "drawn"),
    [
        (["all.jsonl"], "all.jsonl", {}, True),
        (["train.jsonl"], "train.jsonl", {}, True),
        (["train.jsonl"], {"train": "train.jsonl"}, {}, True),
        (["train.jsonl", "dev.jsonl"], "", {}, True),
        (["train.jsonl", "test.jsonl"], "", {}, False),
        (["a_test.jsonl"], "a_test.jsonl", {}, False),
        (["train.jsonl"], "train.jsonl", {"split": "dev"}, False),
    ],
)
def test_where_a_test_split_is_drawn_unasked(tmp_path, files, source, evals, drawn):
    for name in files:
        first = 100 * files.index(name)
        write_lines(tmp_path / name, problems(first, first + 40))
    if isinstance(source, dict):
        source = {k: str(tmp_path / v) for k, v in source.items()}
    elif not source.startswith("hub:"):
        source = str(tmp_path / source)
    given = experiment_on({"source": source, "format": "gsm8k"}, **evals)
    planned = with_test_splits(given)
    (spec,) = planned.datasets.values()
    assert (spec.draw is not None) == drawn
    notes = list(drawn_notes(given, planned))
    assert len(notes) == drawn
    if drawn:
        assert "datasets.d.draw, such as {test: 0.1}" in notes[0] and "20 %" in notes[0]
        found = prepared_from(spec)
        order = np.random.default_rng(42).permutation(40)
        assert [e.record - 1 for e in found.splits["test"]] == list(order[:8])
        assert len(found.splits["train"]) == 32
        assert len(found.splits["dev"]) == 40 * ("dev.jsonl" in files)
        # What is planned is written down, and says the same when it is read again.
        again = DatasetSpec.model_validate(spec.model_dump(mode="json"))
        assert again.draw == spec.draw


def test_of_a_dataset_of_the_hub_it_is_drawn_unless_it_is_there():
    """Which shows once it is loaded: see test_data_hub.py."""
    given = experiment_on({"source": "hub:a/b", "format": "gsm8k"})
    (spec,) = with_test_splits(given).datasets.values()
    drawn = {"test": 0.2, "train": None, "at_most": 1000, "seed": 42, "unless_there": True}
    assert spec.draw.model_dump(mode="json") == drawn
    assert not list(drawn_notes(given, with_test_splits(given))), "nobody knows it yet"
    for other in ({"split": "dev"}, {"split": "train"}):
        given = experiment_on({"source": "hub:a/b", "format": "gsm8k"}, **other)
        assert with_test_splits(given).datasets["d"].draw is None


def test_a_split_that_an_eval_asks_for_has_to_be_there(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", problems(0, 4))
    spec = DatasetSpec(source=str(path), format="gsm8k")
    prepare_split(spec, "test", tmp_path / "d")
    with pytest.raises(UserError, match=r"found no test split, .* datasets.d.draw, such as"):
        prepare_split(spec, "test", tmp_path / "d", asked=True)
    with pytest.raises(UserError, match=r"found no dev split, .* expected datasets.d.dev: N"):
        prepare_split(spec, "dev", tmp_path / "d", asked=True)
    prepare_split(spec, "train", tmp_path / "d", asked=True)
