"""Prompts for which the model's context has no room: never cut, but counted and named."""

from collections.abc import Iterable

SCORED, OVERLONG = "scored", "overlong"
_LISTED = 20


def report_overlong(records: Iterable[dict], context: int | None, what: str) -> None:
    """Prints how many records are overlong, and their ids; nothing where none is."""
    names = [_name(record) for record in records if record.get("finish") == OVERLONG]
    if names:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        print(
            f"{len(names)} {what} are longer than the model's context of {context} tokens: they "
            f"are not cut but counted as overlong, without a result: "
            f"{', '.join(names[:_LISTED])}{more}"
        )


def _name(record: dict) -> str:
    return f"{record['id']} (sample {record['sample']})" if "sample" in record else record["id"]
