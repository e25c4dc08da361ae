"""What stands in front of a split's rows, of the few-shot examples and of the manifest: its own
files and settings, and nothing else."""

import json
import random

import pytest
from prepared_data import prepare, prepared, prepared_from, problem, problems, write_lines

from snaketune.config.dataset import DatasetSpec, FewShotSpec
from snaketune.data import steps
from snaketune.data.draws import draw_shots, put_back, shown_questions
from snaketune.data.example import read_examples
from snaketune.data.steps import same_draw
from snaketune.runtime.errors import UserError

SIZES = [*range(0, 130), 255, 256, 277, 278, 300, 343, 400, 1044, 1045, 1046, 1100, 5000]


def spec(source, **changes) -> DatasetSpec:
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return DatasetSpec.model_validate({"source": source, "format": "gsm8k", **changes})


@pytest.fixture
def folder(tmp_path):
    """Train and test files."""
    write_lines(tmp_path / "data" / "train.jsonl", problems(0, 30))
    write_lines(tmp_path / "data" / "test.jsonl", problems(40, 50))
    return tmp_path / "data"


def test_counts_that_stand_for_one_another_draw_the_same_first_examples():
    for count in range(1, 121):
        other = same_draw(count)
        assert other >= count
        for n in SIZES:
            first = random.Random(7).sample(range(n), min(count, n))
            assert random.Random(7).sample(range(n), min(other, n))[: len(first)] == first


@pytest.mark.parametrize(("last", "of", "next_of"), [(5, 5, 21), (21, 21, 85), (85, 85, 341)])
def test_counts_that_may_draw_others_do_not_stand_for_one_another(last, of, next_of):
    assert (same_draw(last), same_draw(last + 1)) == (of, next_of)
    n = next_of + 5
    draws = [
        [random.Random(seed).sample(range(n), count)[:5] for seed in range(100)]
        for count in (of, next_of)
    ]
    assert draws[0] != draws[1]


def everything(found: DatasetSpec) -> dict[str, object]:
    """What Snakemake compares of every step."""
    return {
        "train": [steps.split_settings(found, ["train"], False), content(found, "train")],
        "test": [steps.split_settings(found, ["test"], False), content(found, "test")],
        "held_out": [steps.held_out_settings(found, False), content(found, "train", "dev")],
        "few_shot": [steps.few_shot_settings(found, False), steps.few_shot_content(found)],
        "shown": [steps.shown_settings(found, False), steps.few_shot_content(found)],
        "manifest": [steps.manifest_settings(found), steps.catalogue_content(found)],
    }


def content(found: DatasetSpec, *splits: str) -> list[list[str]]:
    return steps.split_content(found, splits)


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"licence": "MIT"}, {"manifest"}),
        ({"rejected_at_most": 0.5}, {"manifest"}),
        ({"few_shot": {"count": 9}}, {"few_shot", "manifest"}),
        ({"few_shot": {"count": 22}}, {"held_out", "few_shot", "manifest", "shown"}),
        ({"few_shot": {"seed": 1}}, {"held_out", "few_shot", "manifest", "shown"}),
        ({"overlap": "drop"}, {"test", "manifest"}),
        ({"seed": 1}, {"held_out", "manifest"}),
        ({"dev": 3}, {"held_out", "manifest"}),
        ({"sha256": {"test": "0" * 64}}, {"test"}),
        ({"limit": 5}, {"train", "test", "held_out", "manifest"}),
        ({"revision": "v1"}, set()),
    ],
)
def test_a_setting_stands_in_front_of_what_it_decides(folder, change, stale):
    before, after = everything(spec(folder)), everything(spec(folder, **change))
    assert {step for step in before if before[step] != after[step]} == stale
    json.dumps(after)


def test_a_file_stands_in_front_of_its_own_split(folder):
    before = everything(spec(folder))
    write_lines(folder / "test.jsonl", problems(40, 51))
    after = everything(spec(folder))
    assert {step for step in before if before[step] != after[step]} == {"test"}


def test_where_files_lie_is_not_compared(folder, tmp_path):
    before = everything(spec(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    assert everything(spec(moved)) == before
    assert everything(spec(f"{tmp_path}/./elsewhere/")) == before
    by_split = {"train": moved / "train.jsonl", "test": moved / "test.jsonl"}
    assert everything(spec(by_split)) == before
    assert str(tmp_path) not in json.dumps(before)


def test_all_of_a_source_that_splits_are_drawn_from_stands_in_front_of_each(folder):
    drawn = spec(folder / "train.jsonl", draw={"test": 5}, sha256={"train": "0" * 64})
    assert [name for name, _ in content(drawn, "test")] == ["train.jsonl"]
    assert steps.split_settings(drawn, ["test"], False)["sha256"] == {"train": "0" * 64}


def test_addresses_are_compared_without_what_may_be_a_signature():
    def tracked(source: object, split: str) -> dict:
        return steps.split_settings(spec(source), [split], False)["addresses"]

    (one,), (other,) = (
        tracked(f"https://example.org/test.jsonl?key={key}", "test").values() for key in "ab"
    )
    assert one.startswith("https://example.org/test.jsonl?") and "key" not in one
    assert one != other
    source = {"train": "hub:a/b", "test": "hub:c/d"}
    assert tracked(source, "test") == {"test": "hub:c/d"}
    assert tracked("hub:a/b", "test") != tracked({"test": "hub:a/b"}, "test")
    assert steps.split_settings(spec("hub:a/b", revision="v1"), ["test"], False)["revision"] == "v1"


def test_a_changed_test_file_leaves_the_training_rows_as_they_are(folder, tmp_path):
    numbered = [{"id": i, **problem(i)} for i in range(9)]
    write_lines(folder / "train.jsonl", numbered)
    rows = []
    for name, first in (("one", 0), ("two", 100)):
        write_lines(folder / "test.jsonl", [{"id": first + i, **problem(50 + i)} for i in range(3)])
        prepare(spec(folder), tmp_path / name / "d")
        rows.append((tmp_path / name / "d" / "train.parquet").read_bytes())
    assert rows[0] == rows[1]


def test_what_was_held_out_is_put_back_where_it_was():
    assert put_back(["a", "c", "d"], ["b", "e"], [1, 4]) == ["a", "b", "c", "d", "e"]
    assert put_back(["a"], [], []) == ["a"]


def test_few_shot_examples_are_drawn_from_all_training_records(folder):
    held_out = prepared(folder, dev=10)
    without = prepared(folder)
    assert held_out.shots == without.shots
    found = spec(folder)
    first = shown_questions(
        steps.spec_of(steps.shown_settings(found, False), steps.source_places(found)),
        without.splits["train"],
        3,
        "datasets.d",
    )
    assert first == [shot.question for shot in without.shots[:3]]
    assert len(draw_shots(without.splits["train"], spec(folder).few_shot)) == 8


def quiz(path, **settings):
    rows = [{"q": f"Is {n} even?", "o": ["yes", "no", f"{n}"], "a": "AB"[n % 2]} for n in range(20)]
    columns = {"question": "q", "choices": "o", "answer": "a", "answer_is": "letter"}
    source = {"train": str(write_lines(path, rows))}
    more = {"source": source, "format": "table", "columns": columns, **settings}
    return rows, DatasetSpec.model_validate(more)


def test_examples_with_options_are_drawn_where_an_eval_shows_them(tmp_path):
    """Of what is trained on, whatever is dev; where none does nothing is another than before."""
    rows, data = quiz(tmp_path / "quiz.jsonl", dev=9)
    plain, shown = prepared_from(data), prepared_from(data, options=True)
    assert plain.shots == [] and plain.splits == shown.splits
    assert steps.few_shot_settings(data, False) == steps.few_shot_settings(data, False, False)
    assert "options" not in steps.shown_settings(data, False)
    dev = {example.record - 1 for example in shown.splits["dev"]}
    free = [n for n in range(20) if n not in dev]
    assert [shot.index for shot in shown.shots] == [
        free[i] for i in random.Random(42).sample(range(11), 8)
    ]
    for shot in shown.shots:
        row = rows[shot.index]
        assert (shot.question, shot.choices, shot.label) == (row["q"], row["o"], row["a"])
        assert shot.answer == row["o"]["AB".index(row["a"])]
    records, held = put_back(shown.splits["train"], shown.splits["dev"], sorted(dev)), sorted(dev)
    found = shown_questions(data, records, 3, "datasets.d", options=True, held=held)
    assert found == [shot.question for shot in shown.shots[:3]]


def test_a_file_of_examples_with_options(tmp_path):
    """As the dataset's records are, or as they were written once."""
    rows, data = quiz(tmp_path / "quiz.jsonl")
    drawn = prepared_from(data, options=True).shots
    file, written = tmp_path / "shots.json", [shot.row() for shot in drawn]
    for entries in (written, [rows[shot.index] for shot in drawn]):
        file.write_text(json.dumps(entries))
        own = data.model_copy(update={"few_shot": FewShotSpec(file=str(file))})
        assert prepared_from(own, options=True).shots == drawn
        assert shown_questions(own, [], 2, "datasets.d", options=True) == [
            shot.question for shot in drawn[:2]
        ]
    file.write_text(json.dumps([written[0] | {"label": "D"}]))
    with pytest.raises(UserError, match=r"shots\.json: record 1: field label: .* of the choices"):
        prepared_from(own, options=True)


def test_examples_that_are_shown_of_a_file_need_no_training_records(folder, tmp_path):
    file = tmp_path / "shots.json"
    file.write_text(json.dumps(problems(60, 64)))
    own = spec(folder, few_shot={"file": str(file)})
    shown = steps.spec_of(steps.shown_settings(own, False), steps.source_places(own))
    questions = shown_questions(shown, [], 2, "datasets.d")
    assert questions == [problem(60)["question"], problem(61)["question"]]
    assert str(tmp_path) not in json.dumps(steps.shown_settings(own, False))


def test_a_failed_hold_out_names_the_records_that_were_rejected(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [*problems(0, 3), "no JSON"])
    with pytest.raises(UserError) as error:
        prepared(path, dev=3, few_shot={"count": 0})
    assert "datasets.d.dev: found 3 with 3 training records" in str(error.value)
    assert f"1 of 4 records for train were rejected:\n  {path}:4: found Expecting" in str(
        error.value
    )


def test_a_split_that_the_source_has_not_is_empty(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", problems(0, 3))
    prepare(spec(path), tmp_path / "d")
    assert read_examples(tmp_path / "d" / "train.parquet") == []
    report = json.loads((tmp_path / "d" / "train.json").read_text())
    assert (report["counts"], report["sources"]) == ({"in": 0, "out": 0, "rejected": {}}, [])
