"""Dolly as curated by Argilla: instructions, some with a context, and open answers.

https://huggingface.co/datasets/argilla/databricks-dolly-15k-curated-en
"""

import ast
import json

from snaketune.data.example import Example
from snaketune.data.formats.base import Format
from snaketune.data.record import Fields


class Dolly(Format):
    """The curated `new-instruction`, `new-context` and `new-response`; `original-*` where these
    are empty. `category` and `external_id` are kept.

    A curated field may be text, a list of suggestions, a dict of lists (or a list of dicts) with
    `value`, or what pandas prints of a dict of arrays when it writes a CSV.
    """

    columns = (("original-instruction",), ("original-context",), ("original-response",))

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
    return _either(fields, part) or fields.text(f"original-{part}")


def _either(fields: Fields, part: str) -> str | None:
    """The curated text, else the original one; None where both are empty."""
    return _curated(fields, f"new-{part}") or fields.optional_text(f"original-{part}")


def _curated(fields: Fields, name: str) -> str | None:
    """The first suggestion that is not empty."""
    value = fields.value.get(name)
    if isinstance(value, str) and value.startswith("{'") and "'value': array(" in value:
        value = _printed(value, fields, name)
    suggestions = _suggestions(value)
    if not all(s is None or isinstance(s, str) for s in suggestions):
        raise fields.fault("wrong_type", name, "text, or suggestions whose `value` is text")
    return next((s for s in suggestions if s and s.strip()), None)


def _suggestions(value: object) -> list:
    if isinstance(value, dict):
        return _suggestions(value.get("value"))
    if isinstance(value, list):
        return [one for item in value for one in _suggestions(item)]
    return [value]


def _printed(text: str, fields: Fields, name: str) -> dict:
    """`{'value': array(['…'], dtype=object), …}` as a dict of lists. Nothing is evaluated."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        keys = [ast.literal_eval(key) for key in tree.keys]
        return dict(zip(keys, (ast.literal_eval(v.args[0]) for v in tree.values), strict=True))
    except (SyntaxError, ValueError, AttributeError, IndexError, TypeError, RecursionError):
        expected = "a printed dict of arrays that is whole"
        raise fields.fault("wrong_type", name, expected) from None
