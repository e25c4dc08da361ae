"""The experiment: one config file."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from snaketune.config.base import Number, Strict
from snaketune.config.dataset import DatasetSpec
from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset
from snaketune.config.resources import ResourceSpec
from snaketune.config.run import RunSpec

# Names become file names and Snakemake wildcards: no dot, slash, hyphen or space.
NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME)]


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Experiment(Strict):
    """Models, data, presets, evals and the runs that combine them."""

    experiment: Name
    """Name of the experiment; everything it makes lies under `{output}/{experiment}/`."""
    output: str = "results"
    """Folder of the results."""
    smoke: bool = False
    """Try the whole experiment in a minute or two: a few rows, steps and tokens, the demo's models
    in the place of the configured ones, results under `{output}/{experiment}-smoke/`."""
    code: Literal["versions", "strict"] = "versions"
    """What makes results old when the workflow's own code changes: another version of the step that
    made them, as CHANGELOG.md tells it; `strict`: any other code, for who works on the code."""
    leave_out: Annotated[list[str], BeforeValidator(_one_or_many)] = []  # noqa: RUF012
    """Evals to leave out of this experiment."""
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
    """What every job that loads a model asks for, instead of the estimate; a run's own goes
    before."""
    drops: dict[str, str] = Field(default_factory=dict)
    """By eval: the eval of the same task, in distribution, that its drop is measured from."""
    thresholds: dict[str, dict[str, Number]] = Field(default_factory=dict)
    """By run: the least value of `EVAL.METRIC` that passes."""
    totals: dict[str, dict[str, int]] = Field(default_factory=dict)
    """By run: the rows that an eval must have; any other total fails."""

    @property
    def folder(self) -> str:
        """Where everything of the experiment lies."""
        return f"{self.output}/{self.experiment}{'-smoke' if self.smoke else ''}"
