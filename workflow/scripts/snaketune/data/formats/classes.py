"""Labels of classification, checked alike for every format."""

from collections.abc import Sequence

from snaketune.data.faults import RecordError, fields_found
from snaketune.data.record import Fields


def checked_label(fields: Fields, name: str, labels: Sequence[str]) -> str:
    """The label in the field `name` as text, one of `labels`. Raises `RecordError`."""
    expected = f"one of {', '.join(labels)}"
    if name not in fields.value:
        raise RecordError("missing", name, fields_found(list(fields.value)), expected)
    label = fields.identifier(name)
    if label not in labels:
        raise fields.fault("unknown_label", name, expected)
    return label
