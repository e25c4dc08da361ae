"""Probabilities of labels that were predicted elsewhere."""

from collections.abc import Sequence
from typing import Any

from snaketune.data.faults import RecordError
from snaketune.data.given_numbers import numbers
from snaketune.data.record import Fields

_ROUNDED = 1e-3
"""Probabilities that were written with few digits may add up to a little more than 1."""


def given_labels(fields: Fields, labels: Sequence[str]) -> dict[str, Any]:
    """The record's `probabilities`, or its `sums` (log-probabilities), in the order of `labels`.
    Raises `RecordError`."""
    if "sums" in fields.value:
        return {"sums": _numbers(fields, "sums", labels)}
    values = _numbers(fields, "probabilities", labels)
    if min(values) < 0 or not 0 < sum(values) <= 1 + _ROUNDED:
        found = f"{min(values):g} to {max(values):g}, which add up to {sum(values):g}"
        expected = "probabilities from 0 to 1 that add up to more than 0 and at most 1"
        raise RecordError("wrong_probabilities", "probabilities", found, expected)
    return {"probabilities": values}


def _numbers(fields: Fields, name: str, labels: Sequence[str]) -> list[float]:
    """A number a label, from a list in the labels' order or an object by label."""
    expected = f"{len(labels)} numbers, one a label, as a list or by label ({', '.join(labels)})"
    return [float(x) for x in numbers(fields, name, labels, "wrong_probabilities", expected)]
