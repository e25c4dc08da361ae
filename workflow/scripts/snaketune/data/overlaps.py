"""What a dataset's later splits share with its earlier ones and with its few-shot examples."""

from collections.abc import Sequence

from snaketune.data.check import Rejected
from snaketune.data.example import Example
from snaketune.data.faults import OVERLAP, RecordError
from snaketune.data.few_shot import Shot
from snaketune.data.leakage import Item, Overlap, items_of, overlap
from snaketune.runtime.errors import UserError


def overlaps_of_test(
    test: Sequence[Example], train: Sequence[Example], dev: Sequence[Example], shots: Sequence[Shot]
) -> dict[str, Overlap]:
    """What the test split shares, by the manifest's names for the comparisons."""
    items = items_of(test)
    return {
        "test in train": overlap(items, items_of(train)),
        "test in dev": overlap(items, items_of(dev)),
        "test in few_shot": overlap(items, _shown(shots, train)),
    }


def overlaps_of_dev(
    dev: Sequence[Example], train: Sequence[Example], shots: Sequence[Shot]
) -> dict[str, Overlap]:
    """What the dev split shares."""
    items = items_of(dev)
    return {
        "dev in train": overlap(items, items_of(train)),
        "dev in few_shot": overlap(items, _shown(shots, train)),
    }


def without_overlap(
    test: Sequence[Example], overlaps: dict[str, Overlap], where: str
) -> tuple[list[Example], list[Rejected]]:
    """The test records that overlap with nothing, and the others as rejected records. Raises
    `UserError` where all overlap."""
    found = {i: key for key, o in overlaps.items() for i in o.left_ids}
    kept = [e for e in test if e.id not in found]
    dropped = [_overlapping(e, found[e.id]) for e in test if e.id in found]
    if dropped and not kept:
        raise UserError(
            f"{where}.overlap: found all {len(dropped)} test records in the other splits or "
            f"the few-shot examples too, such as {dropped[0].raw['id']}; expected some that "
            "are only tested, or overlap: report"
        )
    return kept, dropped


def _shown(shots: Sequence[Shot], train: Sequence[Example]) -> list[Item]:
    """A few-shot example is never held out, so that its context stands in the training split."""
    contexts = {e.id: e.context for e in train}
    return [
        Item(s.id, s.question, context=None if s.index is None else contexts.get(s.id))
        for s in shots
    ]


def _overlapping(example: Example, key: str) -> Rejected:
    place = key.removeprefix("test in ")
    fault = RecordError(OVERLAP, None, f"a question that {place} has too", "a question of its own")
    return Rejected(example.source, example.record, fault, {"id": example.id})
