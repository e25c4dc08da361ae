"""Dolly, as first published or as curated by Argilla: instructions, some with a context, and open
answers.

https://huggingface.co/datasets/databricks/databricks-dolly-15k
https://huggingface.co/datasets/argilla/databricks-dolly-15k-curated-en
"""

import json
import re
from typing import ClassVar

from snaketune.data.example import Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.formats.values import read_printed
from snaketune.data.record import Fields, is_missing

# A dict or a list of dicts, with a key that suggestions have.
_OPENS = re.compile(r"\s*\[?\s*\{\s*['\"]")
_VALUE = re.compile(r"['\"]value['\"]\s*:")


@data_format(task="open_qa")
class Dolly(Format):
    """The curated `new-instruction`, `new-context` and `new-response`; `original-*` where these
    are empty; `instruction`, `context` and `response` where there are none of these. `category` and
    `external_id` are kept.

    A curated field may be text, a list of suggestions, a dict of lists (or a list of dicts) with
    `value`, or any of these as a table holds them in a text: as JSON, as Python prints them, or as
    pandas prints a dict of arrays.
    """

    shown: ClassVar = {
        "instruction": "Where is Bob?",
        "context": "Bob is in the market.",
        "response": "In the market",
        "category": "closed_qa",
    }
    columns = tuple((f"original-{part}", part) for part in ("instruction", "context", "response"))

    def example(self, fields: Fields) -> Example:
        reply = _required(fields, "response")
        kept = {name: fields.optional_text(name) for name in ("category", "external_id")}
        return Example(
            id=fields.identifier("id"),
            question=_required(fields, "instruction"),
            context=_either(fields, "context"),
            answer=reply,
            gold=reply,
            meta=json.dumps({k: v for k, v in kept.items() if v}, ensure_ascii=False),
        )


def _required(fields: Fields, part: str) -> str:
    return _either(fields, part) or fields.text(f"original-{part}", part)


def _either(fields: Fields, part: str) -> str | None:
    """The curated text, else the original one; None where both are empty."""
    first = f"original-{part}" if f"original-{part}" in fields.value else part
    return _curated(fields, f"new-{part}") or fields.optional_text(first)


def _curated(fields: Fields, name: str) -> str | None:
    """The first suggestion that is not empty."""
    value = fields.value.get(name)
    if isinstance(value, str):
        value = _unprinted(value, fields, name)
    suggestions = _suggestions(value)
    if not all(s is None or isinstance(s, str) for s in suggestions):
        raise fields.fault("wrong_type", name, "text, or suggestions whose `value` is text")
    return next((s for s in suggestions if s and s.strip()), None)


def _suggestions(value: object) -> list:
    if isinstance(value, dict):
        return _suggestions(value.get("value"))
    if isinstance(value, list):
        return [one for item in value for one in _suggestions(item)]
    return [None if is_missing(value) else value]


def _unprinted(text: str, fields: Fields, name: str) -> object:
    """The suggestions in a text that holds nothing else; any other text as it stands."""
    try:
        found = read_printed(text)
    except ValueError:
        if _OPENS.match(text) and _VALUE.search(text):
            expected = "a printed dict or list of suggestions that is whole"
            raise fields.fault("wrong_type", name, expected) from None
        return text
    if not _are_suggestions(found):
        return text
    if isinstance(found, list) and sum(isinstance(x, str) and bool(x.strip()) for x in found) > 1:
        # It may be an answer that is a list: taking its first item would cut it.
        expected = "text, or a printed list of one suggestion"
        raise fields.fault("ambiguous_text", name, expected)
    return found


def _are_suggestions(found: object) -> bool:
    if isinstance(found, dict):
        return "value" in found
    return isinstance(found, list) and all(
        item is None or isinstance(item, str) or (isinstance(item, dict) and "value" in item)
        for item in found
    )
