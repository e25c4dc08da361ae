"""Small sources for the tests of `snaketune.data`."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data import steps
from snaketune.data.check import Rejected
from snaketune.data.draws import (
    Shot,
    held_places,
    read_shots,
    training_records,
    write_few_shot,
)
from snaketune.data.example import Example, read_examples
from snaketune.data.locate import SPLITS, left_aside
from snaketune.data.manifest import write_manifest
from snaketune.data.prepare import prepare_held_out, prepare_split
from snaketune.runtime.files import read_jsonl

_NAMES = ["Ada", "Ben", "Cleo", "Dov", "Eve", "Finn", "Gus", "Hal"]


def problem(number: int) -> dict:
    """A record of GSM8K's form; no two have the same text."""
    name, other = _NAMES[number % 8], _NAMES[number // 8 % 8]
    return {
        "question": f"{name} gives {other} {number} shells and keeps {number + 2}. How many?",
        "answer": f"{number} + {number + 2} = {2 * number + 2}\n#### {2 * number + 2}",
    }


def problems(first: int, last: int) -> list[dict]:
    """The problems from `first` to before `last`."""
    return [problem(n) for n in range(first, last)]


def write_lines(path: Path, records: list) -> Path:
    """JSONL; a text among the records is written as it stands."""
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Prepared:
    """A dataset as its steps leave it."""

    splits: dict[SplitName, list[Example]]
    shots: list[Shot]
    manifest: dict
    rejected: list[Rejected]


def prepare(spec: DatasetSpec, folder: Path, numeric: bool = False, options: bool = False) -> None:
    """A dataset in `folder`, which is named for it: one step after another, each with the settings
    and files that its rule gives it."""
    lies = steps.source_places(spec)

    def split_alone(split: SplitName) -> None:
        settings = steps.split_settings(spec, [split], numeric)
        prepare_split(steps.spec_of(settings, lies), split, folder, numeric)

    training = [folder / "train.parquet"]
    if spec.dev:
        held_out = steps.held_out_settings(spec, numeric)
        prepare_held_out(steps.spec_of(held_out, lies), folder, numeric)
        training += [folder / "dev.parquet", folder / "dev.json"]
    else:
        split_alone("train")
        split_alone("dev")
    settings = steps.few_shot_settings(spec, numeric, options)
    shown, where = steps.spec_of(settings, lies), f"datasets.{folder.name}"
    file, records = folder / "few_shot.json", training_records(training)
    write_few_shot(shown, records, file, where, numeric, options, held_places(training))
    split_alone("test")
    summary = steps.spec_of(steps.manifest_settings(spec), lies)
    write_manifest(summary, folder, left_aside(spec))


def prepared_from(spec: DatasetSpec, numeric: bool = False, options: bool = False) -> Prepared:
    """The dataset `d`, in memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "d"
        prepare(spec, folder, numeric, options)
        return Prepared(
            {split: read_examples(folder / f"{split}.parquet") for split in SPLITS},
            read_shots(folder / "few_shot.json"),
            json.loads((folder / "manifest.json").read_text()),
            [Rejected.from_row(row) for row in read_jsonl(folder / "rejected.jsonl")],
        )


def prepared(source: object, form: str = "gsm8k", **settings: object) -> Prepared:
    """The dataset `d` from `source`, in memory."""
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return prepared_from(DatasetSpec.model_validate({"source": source, "format": form, **settings}))
