"""The checks of a dataset as a whole, after its splits were prepared."""

import json

import pytest
from prepared_data import prepare, problems, write_lines

from snaketune.config.dataset import DatasetSpec
from snaketune.data.example import read_examples, write_examples
from snaketune.data.manifest import write_manifest
from snaketune.runtime.errors import UserError


@pytest.fixture
def made(tmp_path):
    """A prepared dataset: its spec and its folder."""
    write_lines(tmp_path / "data" / "train.jsonl", problems(0, 20))
    write_lines(tmp_path / "data" / "test.jsonl", [*problems(30, 35), "no JSON"])
    spec = DatasetSpec(source=str(tmp_path / "data"), format="gsm8k", rejected_at_most=0.17)
    prepare(spec, tmp_path / "d")
    return spec, tmp_path / "d"


def changed_report(folder, split, change):
    file = folder / f"{split}.json"
    report = json.loads(file.read_text())
    change(report)
    file.write_text(json.dumps(report))


def test_the_share_that_may_be_rejected_decides_no_rows(made, tmp_path):
    spec, folder = made
    write_manifest(spec.model_copy(update={"rejected_at_most": 1 / 6}), folder, [])
    with pytest.raises(UserError) as error:
        write_manifest(spec.model_copy(update={"rejected_at_most": 0.16}), folder, [])
    assert "1 of 6 records for test rejected" in str(error.value)
    assert f"{tmp_path / 'data' / 'test.jsonl'}:6: found Expecting value" in str(error.value)


def test_reports_name_no_place_of_this_machine(made, tmp_path):
    _, folder = made
    assert not any(str(tmp_path) in file.read_text() for file in folder.glob("*.json*"))


def test_rows_that_are_missing_are_seen(made):
    spec, folder = made
    write_examples(folder / "test.parquet", read_examples(folder / "test.parquet")[:-1])
    with pytest.raises(RuntimeError, match=r"test: .* 4 rows: in is not out \+ rejected"):
        write_manifest(spec, folder, [])


@pytest.mark.parametrize("commits", [("a" * 40, "a" * 40), ("a" * 40, "b" * 40)])
def test_splits_of_a_hub_dataset_have_one_commit(made, commits):
    spec, folder = made

    def as_if_from_the_hub(commit):
        def change(report):
            about = {"kind": "hub", "name": f"hub:demo/problems/{commit[0]}", "commit": commit}
            report["sources"] = [source | about for source in report["sources"]]

        return change

    for split, commit in zip(("train", "test"), commits, strict=True):
        changed_report(folder, split, as_if_from_the_hub(commit))
    if len(set(commits)) == 1:
        write_manifest(spec, folder, [])
        return
    with pytest.raises(UserError, match=r"hub:demo/problems: found the commits a+ for train, b+ f"):
        write_manifest(spec, folder, [])


def test_a_row_of_the_catalogue_belongs_to_one_split(tmp_path):
    lines = [{"q": f"Q{i}", "l": "ab"[i % 2], "k": i} for i in range(5)]
    source = {
        "train": str(write_lines(tmp_path / "train.jsonl", lines[:3])),
        "test": str(write_lines(tmp_path / "test.jsonl", lines[2:])),
    }
    (tmp_path / "catalogue.csv").write_text("k,c\n" + "".join(f"{i},x\n" for i in range(5)))
    spec = DatasetSpec(
        source=source,
        format="table",
        columns={"question": "q", "label": "l"},
        labels=["a", "b"],
        few_shot={"count": 0},
        catalogue={"source": str(tmp_path / "catalogue.csv"), "join_on": ["k"], "columns": ["c"]},
    )
    with pytest.raises(UserError, match=r"found 1 row with records in several splits \(2\)"):
        prepare(spec, tmp_path / "d")
    write_lines(tmp_path / "test.jsonl", lines[3:])
    prepare(spec, tmp_path / "d")
    told = json.loads((tmp_path / "d" / "manifest.json").read_text())["catalogue"]
    assert (told["rows"], told["joined"], told["left_over"]) == (5, 5, 0)
