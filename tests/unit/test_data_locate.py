"""Which files and splits a source stands for."""

import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from prepared_data import problems, write_lines

from snaketune.config.dataset import DatasetSpec, split_of
from snaketune.data import locate, steps
from snaketune.data.locate import source_files, source_parts
from snaketune.runtime.errors import UserError


def _spec(source, form="gsm8k", **settings):
    return DatasetSpec.model_validate({"source": source, "format": form, **settings})


def _found(source, form="gsm8k"):
    return [(part.split, Path(part.address).name) for part in source_parts(_spec(source, form))]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("gsm8k_train_self-instruct", "train"),
        ("validation-00000-of-00001", "dev"),
        ("Valid", "dev"),
        ("gsm8k_test_100", "test"),
        ("latest", None),
        ("train_and_test", None),
        ("records", None),
    ],
)
def test_split_of(name, split):
    assert split_of(name) == split


def test_lone_file_goes_to_the_split_of_its_name_else_of_its_format(tmp_path):
    for name in ("a_test.jsonl", "records.jsonl", "prompts.csv"):
        (tmp_path / name).write_text("x")
    assert _found(f"{tmp_path}/a_test.jsonl") == [("test", "a_test.jsonl")]
    assert _found(f"{tmp_path}/records.jsonl") == [("train", "records.jsonl")]
    assert _found(f"{tmp_path}/prompts.csv", "ailuminate") == [("test", "prompts.csv")]


def test_folder_with_a_file_a_split(tmp_path):
    for name in ("test.jsonl", "train.jsonl", "validation.csv", "extra.jsonl", "README.md"):
        (tmp_path / name).write_text("x")
    spec = _spec(str(tmp_path))
    assert _found(str(tmp_path)) == [
        ("train", "train.jsonl"),
        ("dev", "validation.csv"),
        ("test", "test.jsonl"),
    ]
    names = [Path(f).name for f in source_files(spec)]
    assert names == ["test.jsonl", "train.jsonl", "validation.csv"]


def test_shards_are_one_split(tmp_path):
    for n in (1, 0):
        (tmp_path / f"train-0000{n}-of-00002.parquet").write_text("x")
    assert [split for split, _ in _found(str(tmp_path))] == ["train", "train"]


@pytest.mark.parametrize(
    ("files", "subset", "expected"),
    [
        (["main/train-00000-of-00001.parquet", "main/test-00000-of-00001.parquet"], None,
         ["train", "test"]),
        (["data/train-00000-of-00002-0123456789abcdef.parquet",
          "data/train-00001-of-00002-fedcba9876543210.parquet"], None, ["train", "train"]),
        (["main/train.csv", "socratic/train.csv", "socratic/test.csv"], "socratic",
         ["train", "test"]),
        (["main/train/0000.parquet", "main/train/0001.parquet", "main/test/0000.parquet"], "main",
         ["train", "train", "test"]),
        (["refs/main", ".hidden/train.csv", "snapshots/0123/main/train.jsonl.gz"], None,
         ["train"]),
        (["train.tsv", "test.csv.bz2"], None, ["train", "test"]),
        # As it was before these kinds were read.
        (["train.csv", "train.tsv", "test.csv.gz"], None, ["train"]),
    ],
)  # fmt: skip
def test_folders_as_the_hub_writes_them(tmp_path, files, subset, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    parts = source_parts(_spec(str(tmp_path), subset=subset))
    assert [part.split for part in parts] == expected
    if subset:
        assert all(subset in part.address for part in parts)
    # The job finds them too, by what it is told.
    spec = _spec(str(tmp_path), subset=subset)
    settings = steps.split_settings(spec, ["train"], False)
    assert source_parts(steps.spec_of(settings, steps.source_places(spec))) == parts


def test_what_lies_in_another_folder_is_told(tmp_path):
    for name in ("main/train.csv", "main/train.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert locate.left_aside(_spec(str(tmp_path))) == ["train.tsv"]


def test_source_by_split_overrules_the_names(tmp_path):
    write_lines(tmp_path / "train.jsonl", problems(0, 2))
    (part,) = source_parts(_spec({"test": f"{tmp_path}/train.jsonl"}))
    assert (part.split, part.pinned) == ("test", True)


def test_saved_folder_counts_its_own_files_only(tmp_path):
    rows = datasets.Dataset.from_list(problems(0, 4))
    both = datasets.DatasetDict({"train": rows, "validation": rows})
    both.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "saved" / "train" / "cache-0123.arrow").write_text("left by a map()")
    spec = _spec(str(tmp_path / "saved"))
    assert [part.split for part in source_parts(spec)] == ["train", "dev"]
    names = [str(Path(f).relative_to(tmp_path / "saved")) for f in source_files(spec)]
    files = ("data-00000-of-00001.arrow", "dataset_info.json", "state.json")
    assert names == [f"{s}/{f}" for s in ("train", "validation") for f in files]


def test_hub_and_downloads_have_no_local_files():
    assert source_files(_spec("hub:openai/gsm8k")) == []
    assert source_files(_spec("https://example.org/a/test.jsonl?download=1")) == []
    assert _found("https://example.org/a/test.jsonl?download=1")[0][0] == "test"


@pytest.mark.parametrize(
    ("files", "source", "words"),
    [
        ([], "nothing.jsonl", ["datasets.d.source", "no file or folder", "nothing.jsonl"]),
        ([], "", ["no data file in the folder"]),
        (["README.md"], "", ["no data file in the folder", ".jsonl"]),
        (["a.md"], "a.md", ["a.md", "expected a file of .jsonl"]),
        (["a.csv.zip"], "a.csv.zip", ["a.csv.zip", "; unpack it first"]),
        (["a.xlsx"], "a.xlsx", ["a.xlsx", "; save the sheet as CSV first"]),
        (["main/train.csv", "other/train.csv"], "", ["(main, other)", "as `subset`"]),
        (["a/b/c/d/e/train.csv"], "", ["no data file in the folder"]),
        (["a.jsonl", "b.jsonl"], "", ["2 files", "none is named for a split", "train.jsonl"]),
        (["train.csv", "train.jsonl"], "", ["2 files for the split train", "train.csv"]),
        (["test_a.jsonl", "test_b.jsonl"], "", ["2 files for the split test", "test_b.jsonl"]),
        (["train_vs_test.jsonl"], "train_vs_test.jsonl", ["several splits", "train_vs_test"]),
        (["dataset_dict.json"], "", ["dataset_dict.json", "expected JSON with a list `splits`"]),
        (["state.json"], "", ["state.json", "save_to_disk"]),
    ],
)
def test_bad_sources_are_named_with_their_place_in_the_config(tmp_path, files, source, words):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    with pytest.raises(UserError) as error:
        source_files(_spec(str(folder / source)), "datasets.d")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_snakefile_can_import_it_for_nothing():
    """No library that takes long to import comes with it: the plan is made at every job."""
    code = (
        "import sys; import snaketune.data.locate; heavy = {'numpy', 'pyarrow', 'datasets', "
        "'pandas', 'torch', 'scipy', 'huggingface_hub'}; print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(locate.__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
