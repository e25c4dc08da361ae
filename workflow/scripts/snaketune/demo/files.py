"""The demo's data as rows of its files, and the forms that are no JSON: problems, solutions,
prompts, verdicts, and questions about stories that the story answers.
"""

import csv
import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
from datasets import Dataset, DatasetDict

from snaketune.demo.conversations import STARTS
from snaketune.demo.problems import TEMPLATES, make_problems
from snaketune.demo.safety import Request, make_prompts
from snaketune.demo.story import FLAWS, Solution, Story, draw_pair, tell_story
from snaketune.demo.verdicts import Verdict, unseen_verdicts

# A seed for each file. No question is in two of the math files.
SEEDS = {
    "test": 2,
    "train": 3,
    "self_instruct": 4,
    "prompts": 5,
    "verdicts": 6,
    "reading_train": 7,
    "reading_test": 8,
    "verifier": 9,
}
COUNTS = {
    "test": 320,
    "train": 2000,
    "self_instruct": 3000,
    "prompts": 120,
    "verdicts": 300,
    "reading_train": 2000,
    "reading_test": 240,
}
# Problems of each split, each with a right solution and a flawed one.
VERIFIER = {"train": 400, "validation": 40, "test": 120}
ROWS_OF_EACH_FORMAT = 20

Rows = list[dict[str, str]]

ASKED = {"first": "the first number", "last": "the last number", "start": "what to do"}
KINDS = tuple(ASKED)
_OPENINGS = ("Find", "Name", "Show", "Write down", "Tell me", "Say")
_ENDS = (".", " in this story.", ", please.", " here:", " now.", " for me.")
# Every opening and every end is met in training, but a third of the pairs only in tests.
KNOWN, UNSEEN = (
    tuple(
        f"{opening} {{asked}}{end}"
        for i, opening in enumerate(_OPENINGS)
        for j, end in enumerate(_ENDS)
        if ((i + j) % 3 == 0) is unseen
    )
    for unseen in (False, True)
)
OPTIONS = 4


@dataclass(frozen=True)
class Reading:
    """A story, a question about it, the answer, and options with the answer among them."""

    kind: str
    story: str
    question: str
    answer: str
    options: list[str]


def draw_reading(kind: str, rng: random.Random, known_wording: bool) -> Reading:
    """A question of `kind`, in a wording to learn from or in one kept for tests."""
    story = _draw_story(kind, rng)
    numbers = list(dict.fromkeys(re.findall(r"\d+", story.question)))
    if kind == "start":
        answer, options = STARTS[_sign(story)], list(STARTS.values())
    else:
        answer = numbers[0 if kind == "first" else -1]
        options = _numbers_beside(answer, numbers, rng)
    rng.shuffle(options)
    question = rng.choice(KNOWN if known_wording else UNSEEN).format(asked=ASKED[kind])
    return Reading(kind, story.question, question, answer, options)


def _sign(story: Story) -> str:
    return story.equations[0].split()[1]


def _draw_story(kind: str, rng: random.Random) -> Story:
    """A story whose numbers all differ; for `start` every calculation is equally frequent."""
    sign = rng.choice(tuple(STARTS))
    while True:
        fitting = [t for t in TEMPLATES if t.operations[0].split()[1] == sign or kind != "start"]
        story = tell_story(rng.choice(fitting), rng)
        numbers = re.findall(r"\d+", story.question)
        if len(set(numbers)) == len(numbers):
            return story


def _numbers_beside(answer: str, numbers: list[str], rng: random.Random) -> list[str]:
    """The answer, other numbers of the story, and as many more as are needed."""
    options = [answer, *(n for n in numbers if n != answer)][:OPTIONS]
    while len(options) < OPTIONS:
        other = str(rng.randint(2, 40))
        if other not in options:
            options.append(other)
    return options


def make_readings(count: int, seed: int, known_wording: bool) -> list[Reading]:
    """`count` different readings, each kind equally often."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], Reading] = {}
    while len(found) < count:
        reading = draw_reading(KINDS[len(found) % len(KINDS)], rng, known_wording)
        found.setdefault((reading.question, reading.story), reading)
    readings = list(found.values())
    rng.shuffle(readings)
    return readings


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


def reading_rows(name: str) -> Rows:
    """Questions about stories in Dolly's columns, as it was before it was curated."""
    return [
        {
            "original-instruction": reading.question,
            "original-context": reading.story,
            "original-response": reading.answer,
            "category": reading.kind,
        }
        for reading in _readings(name)
    ]


def quiz_rows() -> Rows:
    """The questions of `reading_test` with a column an option and the right one's letter."""
    return [
        {
            "question": reading.question,
            "story": reading.story,
            **dict(zip("ABCD", reading.options, strict=True)),
            "right": "ABCD"[reading.options.index(reading.answer)],
        }
        for reading in _readings("reading_test")
    ]


def _readings(name: str) -> list[Reading]:
    return make_readings(COUNTS[name], SEEDS[name], known_wording=name == "reading_train")


def verifier_splits(
    problems: Mapping[str, int] = VERIFIER,
) -> tuple[dict[str, list[dict]], Rows]:
    """By split, for so many problems, the solutions with their labels (0 right, 1 flawed), and the
    catalogue that says what the flaw is. `index` numbers the problems; each has two solutions. No
    question is in two splits."""
    rng = random.Random(SEEDS["verifier"])
    splits: dict[str, list[dict]] = {}
    catalogue: Rows = []
    asked: set[str] = set()
    for split, count in problems.items():
        rows = []
        for place in range(count):
            pair = _new_pair(place, asked, rng)
            index = len(asked)
            asked.add(pair[0].question)
            for solution in pair:
                label = int(solution.flaw is not None)
                told = {"question": solution.question, "solution": solution.text}
                rows.append({"index": index, **told, "label": label})
                error = solution.flaw or "correct"
                catalogue.append({"index": str(index), "label": str(label), "error_type": error})
        rng.shuffle(rows)
        splits[split] = rows
    return splits, catalogue


def _new_pair(place: int, asked: set[str], rng: random.Random) -> tuple[Solution, Solution]:
    """A pair whose question is new; kinds of problem in turn, kinds of flaw too."""
    while True:
        flaw = FLAWS[place // len(TEMPLATES) % len(FLAWS)]
        pair = draw_pair(TEMPLATES[place % len(TEMPLATES)], rng, flaw)
        if pair[0].question not in asked:
            return pair


def write_csv_rows(rows: Rows, path: Path) -> None:
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
