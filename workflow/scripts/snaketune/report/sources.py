"""Everything that the report shows, read from the files that the jobs wrote."""

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.runtime.files import read_json, read_rows
from snaketune.tasks.task import ALL, Score

Json = dict[str, Any]
CsvRow = dict[str, str]
"""A row of a table, by column; an empty cell is missing."""
Cell = tuple[str, str]
"""A state and a protocol: together they name a file."""


@dataclass(frozen=True)
class ReportInputs:
    """The report's input files; lists may be empty, and an experiment without training has no
    `train_meta`, `train_log`, `stats` and `lengths`."""

    final: Path
    comparisons: Path
    checkpoints: Path
    metrics: Sequence[Path]
    scores: Sequence[Path]
    prediction_meta: Sequence[Path]
    verdict_meta: Sequence[Path]
    train_meta: Sequence[Path]
    train_log: Sequence[Path]
    manifests: Sequence[Path]
    stats: Sequence[Path]
    lengths: Sequence[Path]
    models: Sequence[Path]
    environment: Path
    adapters: Sequence[Path] = ()
    """Records of adapters that were trained elsewhere."""
    reward_meta: Sequence[Path] = ()
    leakage: Sequence[Path] = ()
    """Of datasets that are evaluated with others that are trained on."""
    epoch_results: Path | None = None
    """None where no eval follows a training, and so for the next."""
    summary_results: Path | None = None
    before_after: Path | None = None
    """None where no eval has open answers."""
    confusion: Path | None = None
    """None where no eval has classes, and so for the next."""
    wrong_predictions: Path | None = None
    voting: Path | None = None
    """None where nothing was sampled, and so for the next."""
    unique_answers: Path | None = None
    drops: Path | None = None
    """None where no drop is asked for."""
    sweep: Path | None = None
    """None where nothing was swept."""
    seeds: Path | None = None
    """None where no runs differ in their seed alone."""
    cost: Path | None = None
    """None of tables that were made before there was one."""
    gate: Path | None = None
    """What was judged; None: not by tables that were made before there was a gate."""
    requests: Path | None = None
    """What jobs asked for, as the workflow's start wrote it, where it did."""


class ReportSources:
    """The files' contents by the names in their paths."""

    def __init__(
        self,
        plan: TablePlan,
        inputs: ReportInputs,
        labels: Mapping[str, str] | None = None,
        at_least: Mapping[str, int] | None = None,
    ) -> None:
        self.plan, self.inputs, self.labels = plan, inputs, labels or {}
        self.at_least = at_least or {}

    def shown(self, state: str) -> str:
        """The state's name for readers: its run's label, where the config gives one."""
        return self.labels.get(state, state)

    @cached_property
    def final(self) -> Json:
        return _json(self.inputs.final)

    @cached_property
    def comparisons(self) -> list[CsvRow]:
        return _csv(self.inputs.comparisons)

    @cached_property
    def checkpoints(self) -> list[CsvRow]:
        return _csv(self.inputs.checkpoints)

    @cached_property
    def epochs(self) -> list[CsvRow]:
        return _csv(self.inputs.epoch_results)

    @cached_property
    def followed(self) -> list[CsvRow]:
        return _csv(self.inputs.summary_results)

    @cached_property
    def before_after(self) -> list[CsvRow]:
        return _csv(self.inputs.before_after)

    @cached_property
    def confusion(self) -> list[CsvRow]:
        return _csv(self.inputs.confusion)

    @cached_property
    def wrong_predictions(self) -> list[CsvRow]:
        return _csv(self.inputs.wrong_predictions)

    @cached_property
    def voting(self) -> list[CsvRow]:
        return _csv(self.inputs.voting)

    @cached_property
    def unique_answers(self) -> list[CsvRow]:
        return _csv(self.inputs.unique_answers)

    @cached_property
    def sweep(self) -> list[CsvRow]:
        return _csv(self.inputs.sweep)

    @cached_property
    def seeds(self) -> list[CsvRow]:
        return _csv(self.inputs.seeds)

    @cached_property
    def cost(self) -> list[CsvRow]:
        return _csv(self.inputs.cost)

    @cached_property
    def gate(self) -> Json:
        file = self.inputs.gate
        return _json(file) if file else {"outcome": "skipped", "checks": []}

    @cached_property
    def drops(self) -> list[CsvRow]:
        return _csv(self.inputs.drops)

    @cached_property
    def metrics(self) -> dict[Cell, Json]:
        return {_cell(path): _json(path) for path in self.inputs.metrics}

    @cached_property
    def scores(self) -> dict[Cell, list[Score]]:
        return {_cell(path): read_rows(path) for path in self.inputs.scores}

    @cached_property
    def prediction_meta(self) -> dict[Cell, Json]:
        return {_cell(path): _json(path) for path in self.inputs.prediction_meta}

    @cached_property
    def verdict_meta(self) -> dict[Cell, Json]:
        return {_cell(path): _json(path) for path in self.inputs.verdict_meta}

    @cached_property
    def reward_meta(self) -> dict[Cell, Json]:
        return {_cell(path): _json(path) for path in self.inputs.reward_meta}

    @cached_property
    def train_meta(self) -> dict[str, Json]:
        return self._in_order({p.parent.name: _json(p) for p in self.inputs.train_meta})

    @cached_property
    def train_log(self) -> dict[str, list[Json]]:
        return self._in_order({p.parent.name: read_rows(p) for p in self.inputs.train_log})

    @cached_property
    def manifests(self) -> list[Json]:
        return [_json(path) for path in self.inputs.manifests]

    @cached_property
    def leakage(self) -> list[Json]:
        return [_json(path) for path in self.inputs.leakage]

    @cached_property
    def stats(self) -> dict[str, Json]:
        return {path.parent.name: _json(path) for path in self.inputs.stats}

    @cached_property
    def lengths(self) -> dict[str, Json]:
        return {path.parent.name: _json(path) for path in self.inputs.lengths}

    @cached_property
    def models(self) -> dict[str, Json]:
        return {path.stem: _json(path) for path in self.inputs.models}

    @cached_property
    def adapters(self) -> dict[str, Json]:
        return {path.parent.name: _json(path) for path in self.inputs.adapters}

    @cached_property
    def environment(self) -> Json:
        return _json(self.inputs.environment)

    @cached_property
    def requests(self) -> dict[str, dict[str, dict[str, Json]]]:
        """By the names in `plan.resources.requests_of`; {} where nothing was written."""
        file = self.inputs.requests
        return _json(file) if file and file.is_file() else {}

    @property
    def runs(self) -> list[RunPlan]:
        return self.plan.runs

    def _in_order(self, found: dict[str, Any]) -> dict[str, Any]:
        """Values by run, in the plan's order."""
        return {run.run: found[run.run] for run in self.runs if run.run in found}

    @cached_property
    def run_of(self) -> dict[str, str]:
        """Runs by their final state."""
        return {run.state: run.run for run in self.runs}

    def tasks(self) -> dict[str, str]:
        """The task of every eval that a run has, in the order of the runs."""
        return {name: spec.task for run in self.runs for name, spec in run.evals.items()}

    def label(self, cell: Cell, eval_name: str) -> str:
        """The state, and what its protocol changes of the eval's own settings."""
        state, protocol = self.shown(cell[0]), cell[1]
        changed = protocol.removeprefix(eval_name).lstrip("-")
        return f"{state} ({changed})" if changed else state

    def labelled(self, rows: list[CsvRow], eval_name: str) -> list[CsvRow]:
        """A table's rows of an eval with each state's `label`."""
        return [
            row | {"label": self.label((row["state"], row["protocol"]), eval_name)}
            for row in rows
            if row["eval"] == eval_name
        ]

    def cells(self, eval_name: str) -> list[tuple[Cell, EvalPlan]]:
        """The states of an eval, each base before its first run, each once."""
        found: dict[Cell, EvalPlan] = {}
        for run in self.runs:
            if spec := run.evals.get(eval_name):
                if run.base_state is not None:
                    found[run.base_state, spec.protocol_name] = spec
                found[run.state, spec.protocol_name] = spec
        return list(found.items())

    def comparison(self, run: str, eval_name: str, metric: str, subset: str = ALL) -> CsvRow | None:
        """The row of `comparisons.csv`."""
        return self._compared.get((run, eval_name, metric, subset))

    @cached_property
    def _compared(self) -> dict[tuple[str, ...], CsvRow]:
        return {
            tuple(r[k] for k in ("run", "eval", "metric", "subset")): r for r in self.comparisons
        }

    def primary(self, cell: Cell, spec: EvalPlan) -> Json:
        """The row of the eval's main metric, which every metrics file has."""
        row = self.metrics_row(cell, spec.primary)
        assert row is not None, (cell, spec)
        return row

    def metrics_row(self, cell: Cell, name: str, subset: str = ALL) -> Json | None:
        """A row of a metrics file."""
        rows = self.metrics[cell]["rows"]
        return next((r for r in rows if (r["metric"], r["subset"]) == (name, subset)), None)


def _cell(path: Path) -> Cell:
    return path.parent.name, path.name.removesuffix(".meta.json").removesuffix(path.suffix)


def _json(path: Path) -> Any:
    return read_json(path)


def _csv(path: Path | None) -> list[CsvRow]:
    """[] of a table that the experiment has not got."""
    if path is None:
        return []
    csv.field_size_limit(sys.maxsize)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
