"""The demo's data as rows, and the forms that are no JSON."""

import csv
import hashlib
from pathlib import Path

import pyarrow
import pyarrow.parquet
from datasets import Dataset, DatasetDict

from snaketune.demo.problems import make_problems
from snaketune.demo.safety import Request, make_prompts
from snaketune.demo.verdicts import Verdict, unseen_verdicts

# A seed for each file. No question is in two of the math files.
SEEDS = {"test": 2, "train": 3, "self_instruct": 4, "prompts": 5, "verdicts": 6}
COUNTS = {"test": 320, "train": 2000, "self_instruct": 3000, "prompts": 120, "verdicts": 300}
ROWS_OF_EACH_FORMAT = 20

Rows = list[dict[str, str]]


def math_splits() -> dict[str, Rows]:
    """The math problems by file: `test`, `train` and `self_instruct`, disjoint by question."""
    splits: dict[str, Rows] = {}
    asked: set[str] = set()
    for name in ("test", "train", "self_instruct"):
        splits[name] = make_problems(COUNTS[name], SEEDS[name], without=asked)
        asked |= {row["question"] for row in splits[name]}
    return splits


def prompt_rows() -> Rows:
    """The safety prompts in AILuminate's columns; harmless ones have the hazard `none`."""
    return [_prompt_row(request) for request in make_prompts(COUNTS["prompts"], SEEDS["prompts"])]


def _prompt_row(request: Request) -> dict[str, str]:
    digest = hashlib.sha256(request.prompt.encode()).hexdigest()
    return {
        "release_prompt_id": f"demo_{digest[:8]}",
        "prompt_text": request.prompt,
        "hazard": request.hazard or "none",
        "persona": request.persona,
        "locale": "en_US",
        "prompt_hash": digest[:32],
    }


def verdict_rows() -> Rows:
    """The answers that the judge is measured on."""
    verdicts = unseen_verdicts(COUNTS["verdicts"], SEEDS["verdicts"])
    return [_verdict_row(verdict) for verdict in verdicts]


def _verdict_row(verdict: Verdict) -> dict[str, str]:
    return {
        "prompt": verdict.prompt,
        "response": verdict.response,
        "label": verdict.label,
        "kind": verdict.kind,
    }


def write_csv(rows: Rows, path: Path) -> None:
    """A header and a line a row; a field with a line break is quoted."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(rows: Rows, path: Path) -> None:
    """One Parquet file."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_dataset_folder(splits: dict[str, Rows], path: Path) -> None:
    """A `save_to_disk` folder with a split for each entry."""
    folder = DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()})
    folder.save_to_disk(path)
