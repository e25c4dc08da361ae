"""The manifest: what came in, what went out, what was rejected and why; and the checks of a dataset
as a whole."""

from dataclasses import dataclass
from pathlib import Path

from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.catalogue import read_catalogue
from snaketune.data.check import SplitReport, refuse_too_many
from snaketune.data.draws import (
    Shot,
    put_back,
    read_shots,
    refuse_own_examples,
    require_held_out_alike,
)
from snaketune.data.example import Example, read_examples
from snaketune.data.formats.base import format_for
from snaketune.data.locate import SPLITS, catalogue_file
from snaketune.data.overlap import KINDS, METHOD, overlaps_of_dev, overlaps_of_test
from snaketune.data.record import OVERLAP
from snaketune.data.steps import paths_by_name
from snaketune.data.tables import read_file
from snaketune.runtime.content import file_hash
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json, write_jsonl


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset as it lies in its folder."""

    splits: dict[SplitName, list[Example]]
    reports: dict[SplitName, SplitReport]
    shots: list[Shot]

    @classmethod
    def read(cls, folder: Path) -> "Dataset":
        """The splits with their reports, and the few-shot examples."""
        return cls(
            {split: read_examples(folder / f"{split}.parquet") for split in SPLITS},
            {split: SplitReport.read(folder / f"{split}.json") for split in SPLITS},
            read_shots(folder / "few_shot.json"),
        )


def write_manifest(spec: DatasetSpec, folder: Path, left_aside: list[str]) -> None:
    """Checks the dataset in `folder`, which is named for it, and writes manifest.json and
    rejected.jsonl there. `left_aside`: files beside the source's that are read for no split.

    Raises `UserError` where more records were rejected than may be, the catalogue's rows are not
    the records', splits are of different commits, or a test record is among its own few-shot
    examples.
    """
    where = f"datasets.{folder.name}"
    found = Dataset.read(folder)
    _require_nothing_lost(found)
    _refuse_rejected(spec, found.reports, where)
    _require_one_commit(found.reports, where)
    catalogue = _joined(spec, found.reports, where)
    refuse_own_examples(found.shots, found.splits["test"], where)
    held = found.reports["dev"].held_out
    records = put_back(found.splits["train"], found.splits["dev"] if held else [], held)
    require_held_out_alike(records, held, spec, format_for(spec), where)
    manifest = _manifest(spec, found, folder.name, left_aside, catalogue)
    _tell(manifest)
    write_json(folder / "manifest.json", manifest)
    write_jsonl(
        folder / "rejected.jsonl", (row for s in SPLITS for row in found.reports[s].rejected)
    )


def _manifest(
    spec: DatasetSpec, found: Dataset, name: str, left_aside: list[str], catalogue: dict | None
) -> dict:
    """Plain values, nothing of this machine or of today."""
    reports = [found.reports[split] for split in SPLITS]
    # Each job of a hub dataset, or one whose splits are drawn, reports on all of it.
    unused = list(dict.fromkeys(name for report in reports for name in report.unused))
    not_drawn = max(report.not_drawn for report in reports)
    recognised = {split: found.reports[split].recognised for split in SPLITS}
    return {
        # Only where something had to be.
        **({"recognised": recognised} if any(recognised.values()) else {}),
        "dataset": name,
        "format": spec.format,
        "licence": spec.licence,
        "splits": {split: found.reports[split].counts for split in SPLITS},
        "sources": [source for report in reports for source in report.sources],
        "unused": [*unused, *left_aside, *([f"{not_drawn} records not drawn"] * (not_drawn > 0))],
        "catalogue": catalogue,
        "dev": {"held_out": spec.dev, "seed": spec.seed},
        "draw": spec.draw.model_dump(mode="json") if spec.draw else None,
        "limit": spec.limit,
        "repeated_options": [row for report in reports for row in report.repeated_options],
        "few_shot": {
            "asked": spec.few_shot.count,
            "seed": spec.few_shot.seed,
            "file": _few_shot_origin(spec),
            "ids": [shot.id for shot in found.shots],
            "indices": [shot.index for shot in found.shots],
        },
        "leakage": {
            "method": METHOD,
            "overlap": spec.overlap,
            "comparisons": _comparisons(spec, found),
        },
    }


def _comparisons(spec: DatasetSpec, found: Dataset) -> dict[str, dict]:
    """By comparison; where test records were left out for their overlap, what there was before."""
    train, dev, test = (found.splits[split] for split in SPLITS)
    own = overlaps_of_dev(dev, train, found.shots)
    if spec.overlap == "report":
        own = overlaps_of_test(test, train, dev, found.shots) | own
    return found.reports["test"].overlaps | {key: overlap.report() for key, overlap in own.items()}


def _require_nothing_lost(found: Dataset) -> None:
    for split, report in found.reports.items():
        n, rows = report.counts, len(found.splits[split])
        if n["in"] != n["out"] + sum(n["rejected"].values()) or n["out"] != rows:
            raise RuntimeError(f"{split}: {n}, {rows} rows: in is not out + rejected")
    reports = found.reports.values()
    read = sum(source["records"] for report in reports for source in report.sources)
    counted = sum(report.counts["in"] for report in reports)
    if read != counted:
        raise RuntimeError(f"{read} records read, {counted} counted in the splits")


def _refuse_rejected(spec: DatasetSpec, reports: dict[SplitName, SplitReport], where: str) -> None:
    """Of every split as it was read: what was held out or left out for an overlap was not
    rejected."""
    totals = {split: report.counts["in"] for split, report in reports.items()}
    if spec.dev:
        totals["train"] += totals.pop("dev")
    for split, total in totals.items():
        rejected = [r for r in reports[split].refused if r.fault.reason != OVERLAP]
        paths = paths_by_name(spec, split)
        refuse_too_many(rejected, total, split, spec.rejected_at_most, where, paths)


def _require_one_commit(reports: dict[SplitName, SplitReport], where: str) -> None:
    """Splits of a hub dataset are fetched by jobs of their own, between which it may change."""
    commits: dict[str, dict[str, str]] = {}
    for split, report in reports.items():
        for source in report.sources:
            if source["kind"] == "hub":
                dataset = source["name"].rpartition("/")[0]
                commits.setdefault(dataset, {})[split] = source["commit"]
    for dataset, found in commits.items():
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{commit} for {split}" for split, commit in found.items())
            raise UserError(
                f"{where}.source: {dataset}: found the commits {listed}, expected one for all "
                f"splits; name one as {where}.revision"
            )


def _joined(spec: DatasetSpec, reports: dict[SplitName, SplitReport], where: str) -> dict | None:
    """The catalogue's entry, after its rows were held against the records of all splits."""
    path = catalogue_file(spec, where)
    if spec.catalogue is None or path is None:
        return None
    table, about = read_file(path)
    catalogue = read_catalogue(spec.catalogue, table, where)
    for report in reports.values():
        if report.catalogue:
            catalogue.add(report.catalogue)
    in_part = spec.limit or spec.draw
    records = sum(report.counts["in"] for report in reports.values())
    catalogue.require_one_to_one(None if in_part else records, where)
    return catalogue.report(about)


def _few_shot_origin(spec: DatasetSpec) -> dict | None:
    if spec.few_shot.file is None:
        return None
    path = Path(spec.few_shot.file)
    return {"name": path.name, "sha256": file_hash(path)}


def _tell(manifest: dict) -> None:
    if found := manifest["catalogue"]:
        print(f"catalogue: {found['rows']} rows, {found['joined']} joined to a record")
    if manifest["unused"]:
        print(f"not used: {', '.join(manifest['unused'])}")
    for key, found in manifest["leakage"]["comparisons"].items():
        if found["rows"]:
            pairs = ", ".join(f"{found[kind]} {kind}" for kind in KINDS)
            print(f"overlap, {key}: {pairs} pairs")
