"""Drafts an experiment for a user's data and model: `make new DATA=my.csv MODEL=folder`.

Run as `python -m snaketune.config.new`. Looks at the file and at the model's folder, loads neither
torch nor weights, writes over no file, and writes only what the config's own models accept.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from snaketune.config.dataset import DatasetSpec
from snaketune.config.read import load_experiment
from snaketune.data.folders import holds_data, kind_of
from snaketune.data.guess import Guess, guess, unreadable, unused_columns
from snaketune.data.locate import source_parts
from snaketune.data.record import RecordError, Table
from snaketune.data.sources.local import saved_table
from snaketune.data.tables import read_file
from snaketune.prompts.wording import own_prompt
from snaketune.runtime.errors import UserError

FOLDER = Path("config/experiments")
_LOOKED_AT = 2000
"""Records by which a file is told."""
_EVALS = {
    "math": "numbers",
    "multiple_choice": "choices",
    "open_qa": "answers",
    "classification": "classes",
    "safety": "safety",
    "perplexity": "text",
}


@dataclass(frozen=True)
class Looked:
    """What was seen of the data."""

    rows: list[dict]
    faults: list[RecordError]
    read_as: tuple[str, ...]
    classes: dict[str, list[str]]
    has_test: bool


def look_at(source: str) -> Looked:
    """The first records of a file or folder. Raises `UserError` where there are none."""
    if source.startswith("hub:") or "://" in source:
        raise UserError(f"DATA: found {source}, expected a file or folder: download it first")
    path = Path(source)
    articles = path.is_dir() and any(path.glob("qa_*.json"))
    # Any format will do to find the files, but for those that only one reads.
    form = "text" if kind_of(path) == ".txt" else "f1_qa" if articles else "gsm8k"
    parts = source_parts(DatasetSpec(source=source, format=form), "DATA")
    first = [part for part in parts if part.split == parts[0].split]
    tables = [
        saved_table(Path(p.address)) if p.kind == "saved" else read_file(Path(p.address))[0]
        for p in first[:20]
    ]
    found = list(islice(_values(tables), _LOOKED_AT))
    rows = [value for value in found if isinstance(value, dict) and value]
    faults = [value for value in found if isinstance(value, RecordError)]
    if len(rows) <= len(faults):
        why = f"; the first fault: {faults[0]}" if faults else ""
        raise UserError(f"{source}: found {len(rows)} records that can be read{why}")
    has_test = any(part.split == "test" for part in parts) and parts[0].split != "test"
    return Looked(rows, faults, tables[0].read_as, tables[0].classes, has_test)


def _values(tables: Iterable[Table]) -> Iterable[Any]:
    return (record.value for record in chain.from_iterable(t.records for t in tables))


def has_chat_template(model: str) -> bool:
    """Whether the model in a folder, or one of the hub, is asked by turns. Raises `UserError` for
    what is neither."""
    folder = Path(model)
    if not folder.is_dir():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not model.startswith("."):
            return True
        raise UserError(f"MODEL: found {model}, expected a model's folder or OWNER/NAME on the hub")
    if not (folder / "config.json").is_file():
        raise UserError(f"MODEL: found no config.json in {model}, expected a model's folder")
    if any(folder.glob("chat_template.*")):
        return True
    try:
        text = (folder / "tokenizer_config.json").read_text(encoding="utf-8")
        return bool(json.loads(text).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def draft(source: str, model: str, name: str, judge: str | None) -> str:
    """The experiment's YAML. Raises `UserError` where no sensible one can be written."""
    chat = has_chat_template(model)
    seen = look_at(source)
    try:
        found = guess(seen.rows, seen.classes)
        faults = unreadable(found, _records(seen.rows, found), seen.classes)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    if len(faults) * 2 > len(seen.rows):
        raise UserError(
            f"{source}: taken for {found.what}, but {len(faults)} of {len(seen.rows)} records "
            f"can't be read as such; the first: {faults[0]}"
        )
    if found.task == "safety" and judge is None:
        raise UserError(
            f"{source}: found {found.what}; expected JUDGE=MODEL, a model that judges the replies"
        )
    if len(seen.rows) < 2:
        raise UserError(f"{source}: found {len(seen.rows)} record, expected some to train and test")
    text = _text(found, seen, source, model, name, judge, chat, [*seen.faults, *faults])
    try:
        load_experiment(yaml.safe_load(text), [])
    except UserError as error:
        fault = " ".join(str(error).split())
        raise UserError(
            f"{source}: taken for {found.what}, of which no config is made: {fault}"
        ) from None
    return text


def _records(rows: list[dict], found: Guess) -> list[dict]:
    """What the format reads: of articles their questions."""
    return [] if found.format == "f1_qa" else rows


def _text(
    found: Guess,
    seen: Looked,
    source: str,
    model: str,
    name: str,
    judge: str | None,
    chat: bool,
    faults: list[RecordError],
) -> str:
    how = f" (read as: {', '.join(seen.read_as)})" if seen.read_as else ""
    models = {"model": {"id": model}} | ({"judge": {"id": judge}} if found.task == "safety" else {})
    run: dict[str, Any] = {"model": "model"}
    if found.task != "safety":
        run |= {"preset": "adapter", "train": "data"}
    lines = [
        "# yaml-language-server: $schema=../schema.json",
        f"# A draft. {_comment(source)} holds {found.what}{how}.",
        "# All keys: config/README.md. Formats of data, and default prompts: docs/formats.md.",
        f"experiment: {name}",
        "",
        "models:",
        *_entries(models),
        "",
        "datasets:",
        "  data:",
        *_dataset(found, seen, source, chat, faults),
    ]
    if found.task != "safety":
        preset = "{method: lora, epochs: 2, learning_rate: 2.0e-4, batch_size: 4, max_length: 1024}"
        lines += [
            "",
            "presets:",
            "  # `method: qlora` holds the model in 4 bits, for large ones on a GPU.",
            f"  adapter: {preset}",
        ]
    lines += ["", "evals:", *_entries({_EVALS[found.task]: _eval(found, seen.rows)})]
    who = "untrained: " if found.task == "safety" else "tuned: "
    lines += ["", "runs:", f"  {who}{_flow(run)}", ""]
    return "\n".join(lines)


def _dataset(
    found: Guess, seen: Looked, source: str, chat: bool, faults: list[RecordError]
) -> list[str]:
    lines = [f"    {key}: {_flow(value)}" for key, value in found.section(source).items()]
    if found.group:
        lines.insert(-1, "    # Rows that share it are never on both sides of a split.")
    if unused := unused_columns(found, seen.rows):
        shown = ", ".join(f"`{_comment(name)[:40]}`" for name in unused[:12])
        lines += [f"    # Not used: {shown}{' and others' if len(unused) > 12 else ''}."]
    if faults:
        looked = len(seen.rows) + len(seen.faults)
        lines += [
            f"    # {len(faults)} of the first {looked} records can't be read;",
            "    # to go on without such, raise this share:",
            "    rejected_at_most: 0.0",
        ]
    if not chat and found.format not in ("chat", "text"):
        lines += [
            "    # The model has no chat template: it is asked in plain text.",
            "    chat: false",
        ]
    if found.task == "classification":
        prompt = own_prompt("classification", chat, None, None, found.labels)
        lines += [
            "    # The default prompt, which names the labels.",
            f"    prompt: {_flow(prompt)}",
        ]
    if found.task != "safety" and not seen.has_test:
        draw: dict[str, Any] = {"test": 0.2, "at_most": 1000}
        if found.labels and len(found.labels) <= len(seen.rows) // 5:
            draw["stratify"] = found.columns["label"]
        lines += [
            "    # A fifth is held back for the test; instead: a number of records, or files by",
            "    # split, such as `source: {train: FILE, test: FILE}`.",
            f"    draw: {_flow(draw)}",
        ]
    return lines


def _eval(found: Guess, rows: list[dict]) -> dict[str, Any]:
    spec: dict[str, Any] = {"task": found.task, "dataset": "data"}
    if found.task == "safety":
        return spec | {"judge": "judge", "max_new_tokens": 256}
    if found.task == "math":
        return spec | {"max_new_tokens": 256}
    if found.task == "open_qa":
        answers = [str(row.get(found.columns.get("answer", ""), "")) for row in rows]
        longest = max(map(len, answers)) if found.columns else 1024
        return spec | {"max_new_tokens": min(512, max(32, longest // 2))}
    return spec


def _entries(section: dict[str, Any]) -> list[str]:
    return [f"  {key}: {_flow(value)}" for key, value in section.items()]


def _flow(value: object) -> str:
    """The value in YAML on one line."""
    if isinstance(value, str) and "\n" in value:
        return yaml.safe_dump(
            value, default_style='"', width=float("inf"), allow_unicode=True
        ).strip()
    text = yaml.safe_dump(
        [value], default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return text.strip().removeprefix("[").removesuffix("]")


def _comment(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def name_of(source: str) -> str:
    """An experiment's name from the file's."""
    stem = Path(source.rstrip("/")).name.partition(".")[0]
    name = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_")
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def write_draft(source: str, model: str, name: str | None = None, judge: str | None = None) -> Path:
    """Writes the draft into the experiments' folder. Raises `UserError` rather than over a file."""
    if not Path(source).exists() and "://" not in source and not source.startswith("hub:"):
        raise UserError(f"DATA: found no file or folder {source!r}")
    if Path(source).is_dir() and not holds_data(Path(source)):
        raise UserError(f"DATA: found no data file in the folder {source}")
    name = name or name_of(source)
    file = FOLDER / f"{name}.yaml"
    if file.exists():
        raise UserError(f"found {file}, which is not written over; expected NAME=another")
    text = draft(source, model, name, judge)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as out:
        out.write(text)
    return file


def main() -> None:
    """Writes a draft and says what to do next."""
    parser = argparse.ArgumentParser(prog="make new", description=__doc__)
    for key, needed in (("data", True), ("model", True), ("name", False), ("judge", False)):
        parser.add_argument(f"--{key}", required=needed)
    given = parser.parse_args()
    if not given.data or not given.model:
        sys.exit("usage: make new DATA=FILE MODEL=FOLDER [NAME=NAME] [JUDGE=FOLDER]")
    try:
        file = write_draft(given.data, given.model, given.name or None, given.judge or None)
    except UserError as error:
        sys.exit(str(error))
    print(f"{file.read_text(encoding='utf-8').splitlines()[1][2:]}")
    print(f"Wrote {file}. Look at it, then at the plan:")
    print(f"  .venv/bin/snakemake check --configfile {file}")


if __name__ == "__main__":
    main()
