"""From a source to a split's checked examples, with a report of what was done beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.catalogue import Catalogue, Catalogued, read_catalogue
from snaketune.data.check import (
    Checked,
    Rejected,
    SplitReport,
    check_records,
    counts_of,
    first_rejected,
    print_report,
    repeated_options_of,
    sources_of,
)
from snaketune.data.draws import dev_places, read_shots
from snaketune.data.example import Example, read_examples, write_examples, write_readable
from snaketune.data.formats.base import Format, format_for
from snaketune.data.locate import catalogue_file
from snaketune.data.overlap import overlaps_of_test, without_overlap
from snaketune.data.split_draws import draw_splits
from snaketune.data.steps import paths_by_name
from snaketune.data.tables import Loaded, loaded_tables, read_file
from snaketune.runtime.errors import UserError


@dataclass(frozen=True)
class _Read:
    """What was read for some splits; those that the source has not are not in `checked`."""

    loaded: Loaded
    checked: dict[SplitName, Checked]
    catalogue: Catalogue | None

    def of(self, split: SplitName) -> Checked:
        """A split without a part in the source is empty."""
        return self.checked.get(split, Checked([], [], 0))

    def report(
        self,
        split: SplitName,
        records: int,
        examples: list[Example],
        rejected: list[Rejected],
        **more: Any,
    ) -> SplitReport:
        return SplitReport(
            counts=counts_of(records, examples, rejected),
            sources=(
                sources_of(self.loaded, split, self.checked[split]) if split in self.checked else []
            ),
            rejected=[r.row() for r in rejected],
            repeated_options=repeated_options_of(split, examples, rejected),
            unused=self.loaded.unused,
            not_drawn=self.loaded.not_drawn,
            recognised=self.of(split).recognised,
            **more,
        )


def prepare_split(
    spec: DatasetSpec,
    split: SplitName,
    folder: Path,
    numeric: bool = False,
    asked: bool = False,
) -> None:
    """Prepares one split under `folder`, which is named for the dataset. `numeric`: the open
    answers of a table have to be numbers; `asked`: an eval asks for the split, so that it has to be
    there.

    Writes {split}.parquet, .csv, .jsonl and the report {split}.json. With `overlap: drop` a test
    split is compared with the train and dev splits and the few-shot examples that lie there. Raises
    `UserError` where the data is not what the config says.
    """
    where = f"datasets.{folder.name}"
    read = _read(spec, (split,), where, numeric)
    found = read.of(split)
    if asked and not found.records:
        way = f"{where}.draw, such as {{test: 0.2}}" if split == "test" else f"{where}.{split}: N"
        raise UserError(
            f"{where}.source: found no {split} split, which an eval asks for; expected {way}, or a "
            f"source by split, such as {{train: FILE, {split}: FILE}}"
        )
    examples, rejected, overlaps = found.examples, found.rejected, {}
    if split == "test" and spec.overlap == "drop":
        train, dev = (read_examples(folder / f"{name}.parquet") for name in ("train", "dev"))
        overlaps = overlaps_of_test(examples, train, dev, read_shots(folder / "few_shot.json"))
        examples, dropped = without_overlap(examples, overlaps, where)
        rejected = [*rejected, *dropped]
    report = read.report(
        split,
        found.records,
        examples,
        rejected,
        catalogue=read.catalogue.found() if read.catalogue else None,
        overlaps={key: overlap.report() for key, overlap in overlaps.items()},
    )
    _write(folder, split, examples, report)


def prepare_held_out(spec: DatasetSpec, folder: Path, numeric: bool = False) -> None:
    """Prepares a train split and the dev split that is held out of it, as `prepare_split` does
    one."""
    where = f"datasets.{folder.name}"
    read = _read(spec, ("train", "dev"), where, numeric)
    own = read.of("dev")
    if own.examples:
        raise UserError(
            f"{where}.dev: found {spec.dev} though the source has a dev split of its own "
            f"({len(own.examples)} records), expected no `dev`"
        )
    found = read.of("train")
    held = _held_out(spec, found, where, numeric)
    dev = [found.examples[i] for i in held]
    places = set(held)
    train = [e for i, e in enumerate(found.examples) if i not in places]
    catalogue = read.catalogue.found() if read.catalogue else None
    _write(
        folder,
        "train",
        train,
        read.report("train", found.records - len(dev), train, found.rejected, catalogue=catalogue),
    )
    _write(
        folder,
        "dev",
        dev,
        read.report("dev", own.records + len(dev), dev, own.rejected, held_out=held),
    )


def _held_out(spec: DatasetSpec, found: Checked, where: str, numeric: bool) -> list[int]:
    try:
        return dev_places(found.examples, spec, format_for(spec, numeric), where)
    except UserError as error:
        if not found.rejected:
            raise
        # The manifest, which limits how many may be rejected, is never reached.
        raise UserError(
            f"{error}. {len(found.rejected)} of {found.records} records for train were rejected:\n"
            + first_rejected(found.rejected, paths_by_name(spec, "train"))
        ) from None


def _read(spec: DatasetSpec, splits: Sequence[SplitName], where: str, numeric: bool) -> _Read:
    name = where.rpartition(".")[2]
    form = format_for(spec, numeric)
    with loaded_tables(spec, splits, where) as loaded:
        if spec.draw:
            loaded = draw_splits(loaded, spec.draw, where, spec.group)
        there = [split for split in splits if split in loaded.tables]
        form, catalogue = _with_catalogue(spec, form, where) if there else (form, None)
        checked = {
            s: check_records(loaded.tables[s], s, name, form, spec.limit, spec.group) for s in there
        }
    return _Read(loaded, checked, catalogue)


def _with_catalogue(spec: DatasetSpec, form: Format, where: str) -> tuple[Format, Catalogue | None]:
    """The format, which takes columns over from the catalogue where there is one, and the
    catalogue."""
    path = catalogue_file(spec, where)
    if spec.catalogue is None or path is None:
        return form, None
    catalogue = read_catalogue(spec.catalogue, read_file(path)[0], where)
    return Catalogued(form, catalogue), catalogue


def _write(folder: Path, split: SplitName, examples: list[Example], report: SplitReport) -> None:
    write_examples(folder / f"{split}.parquet", examples)
    write_readable(folder / split, examples)
    report.write(folder / f"{split}.json")
    print_report(split, report)
