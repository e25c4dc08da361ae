"""What all config models share: unknown keys are faults, values are plain and frozen; kinds of
values, and the one section that stands in several models."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AllowInfNan, BaseModel, BeforeValidator, ConfigDict, Field


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


WORKFLOW = Path(__file__).parents[4]
"""The workflow's own folder, which need not be the one that it runs in."""
_OWN = ("config/", "data/demo/")


def own_file(path: str) -> str:
    """`path`, from the workflow's folder where it is shipped with it and nothing lies there from
    here: the demo's models and data, the default config and guideline."""
    shipped = path.startswith(_OWN) and not Path(path).exists() and (WORKFLOW / path).exists()
    return str(WORKFLOW / path) if shipped else path


OwnFile = Annotated[str, AfterValidator(own_file)]
Prefix = Annotated[str, AfterValidator(_unpadded)]
Number = Annotated[float, BeforeValidator(_number), AllowInfNan(False)]
"""NaN and infinity are none: no JSON holds them."""
Value = Annotated[Any, BeforeValidator(_number)]
"""Any value; a number that YAML took for text is a number."""


def _text(value: object) -> object:
    """YAML reads `[0, 1]` as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _switch(value: object) -> object:
    """YAML reads `off` and `on` as booleans."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Thinking = Annotated[
    Literal["off", "on"], BeforeValidator(_switch, json_schema_input_type=str | bool)
]
Label = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int)]


class ResourceSpec(Strict):
    """Memory and time of the first attempt; every further attempt gets as much again. They make
    nothing run again."""

    memory_gb: Number | None = Field(None, gt=0)
    """Main memory of a job in GB; unset: estimated from model, method and batch."""
    minutes: int | None = Field(None, ge=1)
    """Run time of a job; unset: estimated."""
