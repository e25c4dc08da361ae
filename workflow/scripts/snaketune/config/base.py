"""What all config models share: unknown keys are faults, values are plain and frozen."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict


class Strict(BaseModel):
    """A frozen model that takes no unknown key; each field's description documents it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _number(value: object) -> object:
    """YAML 1.1 reads `1e-4` as text: take it for the number that was meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _unpadded(value: str) -> str:
    """White space at the join with a prompt is the workflow's to put."""
    if value != value.strip():
        raise ValueError("found white space around it, expected none")
    return value


def alone_as(key: str) -> BeforeValidator:
    """Where a name alone stands for a section with that `key`."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


Prefix = Annotated[str, AfterValidator(_unpadded)]
Number = Annotated[float, BeforeValidator(_number)]
Value = Annotated[Any, BeforeValidator(_number)]
"""Any value; a number that YAML took for text is a number."""
