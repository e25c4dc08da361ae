"""Labels of classes."""

from typing import Annotated

from pydantic import BeforeValidator


def _text(value: object) -> object:
    """YAML reads `[0, 1]` as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Label = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int)]
