"""The experiment: one config file, and the runs in it, which are its trainings."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from snaketune.config.base import (
    COUNTED,
    Count,
    ResourceSpec,
    Strict,
)
from snaketune.config.dataset import DatasetSpec
from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import ModelSpec, Preset
from snaketune.config.run import RunSpec

Margin = Annotated[float, Field(ge=0, lt=1), COUNTED]
Threshold = Annotated[float, Field(ge=-1, le=1), COUNTED]
"""Every metric of which more is better is a share, or one corrected for chance."""


class GateSpec(Strict):
    """What `snakemake gate` judges beside `thresholds`: it ends with exit code 1 where something is
    missed, a figure is refused, or a run may be worse than it should be."""

    always: bool = False
    """Judge at the end of every start of all targets, too; `--config gate=true` stands for it."""
    not_worse: dict[str, Margin] = Field(default_factory=dict)
    """By `EVAL.METRIC` how much a run may lose against its base on the same rows: with 0.02 the
    whole 95 % interval of the difference has to lie above -2 points."""
    against: str | None = None
    """Folder of an earlier experiment's results (`results/NAME`): the runs of the same names may
    lose no more than `not_worse` against it either."""
    undecided: Literal["fail", "pass"] = "fail"
    """What becomes of a gate of which nothing failed, but too few rows were there to tell."""


def _judged_always(value: object) -> object:
    """`true` stands for `{always: true}`."""
    return {"always": value} if isinstance(value, bool) else value


# Names become file names and Snakemake wildcards: no dot, slash, hyphen or space.
NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
MOST_LETTERS = 100
"""Of a name: file names join two of them, and have 255 letters at most."""
Name = Annotated[str, Field(pattern=NAME, max_length=MOST_LETTERS)]


def _folder_name(value: str) -> str:
    """Refuses what would be another folder than who wrote it thinks, or none."""
    expected = "expected a folder such as results or /scratch/me/results"
    if not value.strip():
        raise ValueError(f"found empty text, {expected}")
    if value.startswith("~"):
        raise ValueError(f"found {value!r}, {expected}: `~` stands for no home here")
    if not value.strip("/"):
        raise ValueError(f"found {value!r}, the root of the file system; {expected}")
    if odd := next((c for c in value if c in "{}" or not c.isprintable()), None):
        raise ValueError(f"found {odd!r} in {value!r}, which no path of a result has; {expected}")
    if long := next((p for p in value.split("/") if len(p.encode()) > 200), None):
        raise ValueError(f"found a name of {len(long.encode())} bytes, expected 200 at most")
    return value


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Experiment(Strict):
    """Models, data, presets, evals and the runs that combine them."""

    experiment: Name
    """Name of the experiment; everything it makes lies under `{output}/{experiment}/`."""
    output: Annotated[str, AfterValidator(_folder_name)] = "results"
    """Folder of the results."""
    smoke: bool | Literal["demo"] = False
    """Rehearse the whole experiment, with its own models, templates and limits, on a few rows,
    steps and tokens; results under `{output}/{experiment}-smoke/`. `demo`: with the demo's small
    models in the place of the configured ones, in a minute or two on a laptop; under
    `{output}/{experiment}-smoke_demo/`, and every table and page names it."""
    code: Literal["versions", "strict"] = "versions"
    """What makes results old when the workflow's own code changes: another version of the step that
    made them, as CHANGELOG.md tells it; `strict`: any other code, for who works on the code."""
    leave_out: Annotated[list[str], BeforeValidator(_one_or_many)] = []  # noqa: RUF012
    """Evals to leave out of this experiment."""
    talk: str | None = None
    """The run that `snakemake talk` chats with, beside its base: `--config talk=RUN`; unset: the
    only one there is. Makes nothing and changes nothing."""
    models: dict[Name, ModelSpec] = Field(default_factory=dict)
    """Base models and judges."""
    datasets: dict[Name, DatasetSpec]
    """Training and evaluation data."""
    presets: dict[Name, Preset] = Field(default_factory=dict)
    """Training methods and hyperparameters."""
    evals: dict[Name, EvalSpec]
    """What is measured."""
    runs: dict[Name, RunSpec]
    """Trainings, each evaluated beside its base model."""
    resources: ResourceSpec = ResourceSpec()
    """What a job that loads a model asks for, where its run does not say it; unset: estimated."""
    drops: dict[str, str] = Field(default_factory=dict)
    """By eval: the eval of the same task, in distribution, that its drop is measured from."""
    thresholds: dict[str, dict[str, Threshold]] = Field(default_factory=dict)
    """By run: the least value of `EVAL.METRIC` that passes."""
    gate: Annotated[
        GateSpec, BeforeValidator(_judged_always, json_schema_input_type=GateSpec | bool)
    ] = GateSpec()
    """What makes an experiment unfit for a release, beside `thresholds`; `true` judges them at
    the end of every start."""
    totals: dict[str, dict[str, Count]] = Field(default_factory=dict)
    """By run: the rows that an eval must have; any other total fails."""

    @property
    def folder(self) -> str:
        """Where everything of the experiment lies."""
        ending = "-smoke_demo" if self.smoke == "demo" else "-smoke" if self.smoke else ""
        return f"{self.output}/{self.experiment}{ending}"
