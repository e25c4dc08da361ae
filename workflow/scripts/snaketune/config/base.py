"""What all config models share: unknown keys are faults, values are plain and frozen; and which
tasks and formats there are, with what the file of each states of itself.

A registry is a folder with a file a thing, whose class a decorator registers; the file's name is
the thing's. Its facts are literals in the decorator's call, so that the Snakefile's own process can
ask for them at every parse without importing what only jobs need. A task's file is run only where
replies are measured, compared or shown; a format's where records are read.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)


class Strict(BaseModel):
    """A frozen model that takes no unknown key. The text below a field documents it: `document`
    reads it from the source, which pydantic would do at every start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


def _counted(value: object) -> object:
    """Python counts with `true` and `false`; who wrote them meant no number."""
    if isinstance(value, bool):
        raise ValueError(f"found {str(value).lower()}, expected a number")
    return _number(value) if isinstance(value, str) else value


COUNTED = BeforeValidator(_counted)  # behind bounds: before them it would hide them from a schema
Number = Annotated[float, COUNTED, AllowInfNan(False)]
"""NaN and infinity are none: no JSON holds them."""
Share = Annotated[float, Field(ge=0, le=1), COUNTED]
Whole = Annotated[int, COUNTED]
MOST = 1_000_000_000
"""The most rows, tokens or the like that are no slip of the keyboard."""
Count = Annotated[int, Field(ge=1, le=MOST), COUNTED]
CountFrom0 = Annotated[int, Field(ge=0, le=MOST), COUNTED]
Seed = Annotated[int, Field(ge=0, lt=2**32), COUNTED]
"""As far as every generator of random numbers takes one."""
Value = Annotated[Any, BeforeValidator(_number)]
"""Any value; a number that YAML took for text is a number."""


def _text(value: object) -> object:
    """YAML reads `[0, 1]` as numbers and `[true, false]` as neither text nor number."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _switch(value: object) -> object:
    """YAML reads `off` and `on` as booleans."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class BudgetSpec(Strict):
    """Thoughts of a limited length."""

    budget: Count
    """Tokens of a thought at most: then it is closed as the model's template closes one, and the
    answer follows, within `max_new_tokens` of its own. Training is as with `on`."""


def _thinking_kind(value: object) -> str:
    """Which of the two is meant, so that a fault is told of one."""
    return "thinking_budget" if isinstance(value, dict | BudgetSpec) else "thinking_word"


Thinking = Annotated[
    Annotated[Literal["off", "on"], Tag("thinking_word")]
    | Annotated[BudgetSpec, Tag("thinking_budget")],
    Discriminator(_thinking_kind),
    BeforeValidator(_switch, json_schema_input_type=str | bool | BudgetSpec),
]


def thinking_mode(thinking: object) -> Literal["off", "on"] | None:
    """What a chat template is told of it: thoughts with a budget are thoughts."""
    if thinking in (None, "off"):
        return None if thinking is None else "off"
    return "on"


def thought_budget(thinking: object) -> int | None:
    """Tokens of a thought at most; None: no limit."""
    return thinking.budget if isinstance(thinking, BudgetSpec) else None


Label = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int | bool)]


class ResourceSpec(Strict):
    """Memory and time of the first attempt; every further attempt gets as much again. They make
    nothing run again."""

    memory_gb: Annotated[float, Field(gt=0, le=1_000_000), COUNTED] | None = None
    """Main memory of a job in GB; unset: estimated from model, method and batch."""
    minutes: Annotated[int, Field(ge=1, le=525_600), COUNTED] | None = None
    """Run time of a job, which ends it wherever it runs, with what it has done kept; unset: an
    estimate, which ends none but on a cluster."""


SplitName = Literal["train", "dev", "test"]
SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


def called_exactly(name: str) -> SplitName | None:
    """The split of a name that is a word for one and nothing else: not `train_sft`."""
    return SPLIT_WORDS.get(name.lower())


def split_of(name: str) -> SplitName | None:
    """The split that a file or split name speaks of: `gsm8k_train_v2` is train.

    None where it speaks of none, or of several.
    """
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


_LIBRARY = Path(__file__).parents[1]


def stated_in(folder: Path, decorator: str) -> dict[str, dict[str, Any]]:
    """By file, in the order of their names: the keywords of the decorator's call."""
    return {
        file.stem: facts
        for file in sorted(folder.glob("*.py"))
        for facts in _calls(file, decorator)
    }


def _calls(file: Path, decorator: str) -> Iterator[dict[str, Any]]:
    text = file.read_text(encoding="utf-8")
    if f"@{decorator}(" not in text:
        return
    for node in ast.parse(text, str(file)).body:
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == decorator:
                yield {k.arg or "": ast.literal_eval(k.value) for k in call.keywords}


@dataclass(frozen=True)
class TaskInfo:
    """The facts that the config and the plan need to know of a task."""

    goals: tuple[str, ...]
    """The metrics of which more is better: what snapshots are chosen by and thresholds are set for.
    """
    unpaired: tuple[str, ...] = ()
    """The goals by which two states are not compared row by row."""
    samples_of: str | None = None
    """The task of which this one measures several samples a question. No eval names it: it follows
    from `sampling`."""

    @property
    def primary(self) -> str:
        """The metric by which the task is summarised."""
        return self.goals[0]


PERPLEXITY = "perplexity"
"""The task of plain text, which is neither asked nor answered."""
TASKS = {name: TaskInfo(**facts) for name, facts in stated_in(_LIBRARY / "tasks", "task").items()}
"""The tasks by name."""


@dataclass(frozen=True)
class FormatInfo:
    """The facts that the config and the plan need to know of a format."""

    task: str
    """The task whose prompt its records are trained with, where no columns say otherwise."""
    evaluation_only: bool = False
    """Its records have no reply to train on: a lone file is a test split."""
    many_files: str | None = None
    """The pattern of its files' names, where a folder holds many, each with some records of one
    split."""
    seeded: bool = False
    """The dataset's seed decides what its examples look like."""


FORMATS = {
    name: FormatInfo(**facts)
    for name, facts in stated_in(_LIBRARY / "data/formats", "data_format").items()
}
"""The formats by name."""


_HUB = re.compile(r"hub:([\w.-]+/)?[\w.-]+")


def _source(value: str) -> str:
    """Refuses at once what no later step could read."""
    if not value.strip():
        raise ValueError("found empty text, expected a file, a folder, hub:OWNER/NAME or https://…")
    if value.startswith("hub:") and not _HUB.fullmatch(value):
        raise ValueError(f"found {value!r}, expected hub:OWNER/NAME")
    if "://" in value and not value.startswith("https://"):
        raise ValueError(f"found {value!r}, expected https://: other addresses are not read")
    if "://" in value and "@" in urlsplit(value).netloc:
        raise ValueError(
            "found a user name or password in the address, expected none, since this file and logs "
            "keep it; give a local file, or an address that is signed behind its `?`"
        )
    return value


def without_query(source: str) -> str:
    """An address without what follows `?`, which may be a signature: for messages and files."""
    return source.partition("?")[0] if "://" in source else source


Source = Annotated[str, AfterValidator(_source), AfterValidator(own_file)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


def _count_or_share(value: int | float) -> int | float:
    if not 0 < value <= MOST or (isinstance(value, float) and value >= 1):
        raise ValueError(f"found {value}, expected a number of records, or a share such as 0.2")
    return value


CountOrShare = Annotated[
    int | float,
    COUNTED,
    AllowInfNan(False),
    AfterValidator(_count_or_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            ]
        }
    ),
]
