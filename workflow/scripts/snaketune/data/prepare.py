"""From a source to checked examples, with everything that was done written beside them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.catalogue import Catalogue, Catalogued, read_catalogue
from snaketune.data.check import Checked, Rejected, check, refuse_too_many
from snaketune.data.draw import drawn
from snaketune.data.example import Example, write_examples, write_readable
from snaketune.data.faults import OVERLAP, RecordError
from snaketune.data.few_shot import Shot, as_json, draw, from_file, refuse_own_examples
from snaketune.data.formats.base import Format
from snaketune.data.formats.choices import REPEATED, has_repeats
from snaketune.data.formats.registry import format_for
from snaketune.data.leakage import KINDS, Item, Overlap, items_of, overlap
from snaketune.data.load import Loaded, load, read_file
from snaketune.data.locate import SPLITS, catalogue_file
from snaketune.data.manifest import counts, manifest
from snaketune.data.splits import hold_out, tell_apart
from snaketune.data.text import normalise
from snaketune.errors import UserError
from snaketune.identity import file_hash
from snaketune.jsonl import write_json, write_jsonl

Splits = dict[SplitName, list[Example]]

_TOLD = 20
"""Rejected records that the log names; the file has all."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare` writes."""

    splits: Splits
    shots: list[Shot]
    manifest: dict
    rejected: list[Rejected]


def prepare(spec: DatasetSpec, folder: Path, numeric: bool = False) -> None:
    """Prepares a dataset under `folder`, which is named for it. `numeric`: the open answers of a
    table have to be numbers.

    Writes {train,dev,test}.{parquet,csv,jsonl}, few_shot.json, rejected.jsonl and manifest.json.
    Raises `UserError` where the data is not what the config says.
    """
    prepared = prepared_from(spec, folder.name, numeric)
    for split in SPLITS:
        write_examples(folder / f"{split}.parquet", prepared.splits[split])
        write_readable(folder / split, prepared.splits[split])
    write_json(folder / "few_shot.json", as_json(prepared.shots))
    write_jsonl(folder / "rejected.jsonl", [r.row() for r in prepared.rejected])
    write_json(folder / "manifest.json", prepared.manifest)


def prepared_from(spec: DatasetSpec, name: str, numeric: bool = False) -> Prepared:
    """The dataset `name` in memory."""
    where = f"datasets.{name}"
    form, catalogue, about = _with_catalogue(spec, format_for(spec, numeric), where)
    with load(spec, where) as loaded:
        if spec.draw:
            loaded = drawn(loaded, spec.draw, where)
        checked = {s: _checked(loaded, s, spec, form, where) for s in SPLITS if s in loaded.tables}
    if catalogue:
        in_part = spec.limit or spec.draw
        records = sum(len(c.examples) + len(c.rejected) for c in checked.values())
        catalogue.require_one_to_one(None if in_part else records, where)
    splits = tell_apart({s: checked[s].examples if s in checked else [] for s in SPLITS})
    shots = _shots(spec, form, splits["train"], where)
    splits = _with_dev(spec, splits, {normalise(shot.question) for shot in shots}, where)
    overlaps = _overlaps(splits, shots)
    rejected = {s: list(checked[s].rejected) if s in checked else [] for s in SPLITS}
    if spec.overlap == "drop":
        splits["test"], dropped = _without_overlap(splits["test"], overlaps)
        rejected["test"] += dropped
        if dropped and not splits["test"]:
            raise UserError(
                f"{where}.overlap: found all {len(dropped)} test records in the other splits or "
                f"the few-shot examples too, such as {dropped[0].raw['id']}; expected some that "
                "are only tested, or overlap: report"
            )
    refuse_own_examples(shots, splits["test"], where)
    summary = manifest(
        name,
        spec,
        {s: counts(splits[s], rejected[s]) for s in SPLITS},
        _sources(loaded, checked),
        loaded.unused,
        shots,
        _few_shot_origin(spec),
        overlaps,
        _repeats(splits, rejected),
        catalogue.report(about) if catalogue else None,
    )
    _tell(summary)
    refused = [r for s in SPLITS for r in rejected[s]]
    _tell_rejected(refused)
    return Prepared(splits, shots, summary, refused)


def _with_catalogue(
    spec: DatasetSpec, form: Format, where: str
) -> tuple[Format, Catalogue | None, dict]:
    """The format, which takes columns over from the catalogue where there is one, the catalogue,
    and what the manifest says of its file."""
    path = catalogue_file(spec, where)
    if path is None:
        return form, None, {}
    table, about = read_file(path)
    catalogue = read_catalogue(spec.catalogue, table, where)
    return Catalogued(form, catalogue), catalogue, about


def _checked(
    loaded: Loaded, split: SplitName, spec: DatasetSpec, form: Format, where: str
) -> Checked:
    name = where.rpartition(".")[2]
    checked = check(loaded.tables[split], split, name, form, spec.limit)
    refuse_too_many(checked, split, spec.rejected_at_most, where)
    return checked


def _shots(spec: DatasetSpec, form: Format, train: list[Example], where: str) -> list[Shot]:
    if spec.few_shot.file is None:
        return draw(train, spec.few_shot)
    path = Path(spec.few_shot.file)
    if not path.is_file():
        raise UserError(f"{where}.few_shot.file: found no file {path}, expected a JSON list")
    return from_file(path, form, train)


def _few_shot_origin(spec: DatasetSpec) -> dict | None:
    if spec.few_shot.file is None:
        return None
    path = Path(spec.few_shot.file)
    return {"name": path.name, "sha256": file_hash(path)}


def _with_dev(spec: DatasetSpec, splits: Splits, shown: set[str], where: str) -> Splits:
    if spec.dev and splits["dev"]:
        raise UserError(
            f"{where}.dev: found {spec.dev} though the source has a dev split of its own "
            f"({len(splits['dev'])} records), expected no `dev`"
        )
    if not spec.dev:
        return splits
    train, dev = hold_out(splits["train"], spec.dev, spec.seed, shown, where)
    return {**splits, "train": train, "dev": dev}


def _overlaps(splits: Splits, shots: list[Shot]) -> dict[str, Overlap]:
    """What later splits share with earlier ones, and the test split with the examples shown."""
    items = {s: items_of(splits[s]) for s in SPLITS}
    contexts = {e.id: e.context for s in SPLITS for e in splits[s]}
    shown = [Item(shot.id, shot.question, context=contexts.get(shot.id)) for shot in shots]
    return {
        "test in train": overlap(items["test"], items["train"]),
        "test in dev": overlap(items["test"], items["dev"]),
        "test in few_shot": overlap(items["test"], shown),
        "dev in train": overlap(items["dev"], items["train"]),
        "dev in few_shot": overlap(items["dev"], shown),
    }


def _without_overlap(
    test: list[Example], overlaps: dict[str, Overlap]
) -> tuple[list[Example], list[Rejected]]:
    """The test rows that overlap with nothing, and the others as rejected records."""
    found = {i: key for key, o in overlaps.items() if key.startswith("test") for i in o.left_ids}
    kept = [e for e in test if e.id not in found]
    return kept, [_overlapping(e, found[e.id]) for e in test if e.id in found]


def _overlapping(example: Example, key: str) -> Rejected:
    place = key.removeprefix("test in ")
    fault = RecordError(OVERLAP, None, f"a question that {place} has too", "a question of its own")
    return Rejected(example.source, example.source, example.record, fault, {"id": example.id})


def _repeats(splits: Splits, rejected: dict[SplitName, list[Rejected]]) -> list[dict]:
    """The records in which an option stands twice, kept or rejected; a rejected one has no id."""
    found = []
    for split in SPLITS:
        kept = [e for e in splits[split] if e.choices and has_repeats(e.choices)]
        out = [r for r in rejected[split] if r.fault.reason == REPEATED]
        named = [(e.id, e.source, e.record, True) for e in kept]
        named += [(None, r.source, r.record, False) for r in out]
        keys = ("id", "source", "record", "kept")
        found += [{"split": split, **dict(zip(keys, row, strict=True))} for row in named]
    return found


def _sources(loaded: Loaded, checked: dict[SplitName, Checked]) -> list[dict]:
    """Every table with its split, identity and the number of records read from it."""
    entries = []
    for split, result in checked.items():
        read = Counter(x.source for x in (*result.examples, *result.rejected))
        entries += [
            {"split": split, **origin, "records": read[origin["name"]]}
            for origin in loaded.origins[split]
        ]
    return entries


def _tell(summary: dict) -> None:
    for split, n in summary["splits"].items():
        rejected = ", ".join(f"{k}: {v}" for k, v in n["rejected"].items()) or "none"
        print(f"{split}: {n['in']} in, {n['out']} out, rejected {rejected}")
    for row in summary["repeated_options"]:
        done = f"kept as {row['id']}" if row["kept"] else "rejected"
        print(f"options repeat, {done}: {row['source']}, record {row['record']} for {row['split']}")
    if found := summary["catalogue"]:
        print(f"catalogue: {found['rows']} rows, {found['joined']} joined to a record")
    if summary["unused"]:
        print(f"not used: {', '.join(summary['unused'])}")
    for key, found in summary["leakage"]["comparisons"].items():
        if found["rows"]:
            pairs = ", ".join(f"{found[kind]} {kind}" for kind in KINDS)
            print(f"overlap, {key}: {pairs} pairs")


def _tell_rejected(rejected: list[Rejected]) -> None:
    for r in rejected[:_TOLD]:
        print(f"rejected: {r.source}, record {r.record}: {r.fault}")
    if len(rejected) > _TOLD:
        print(f"and {len(rejected) - _TOLD} more in rejected.jsonl")
