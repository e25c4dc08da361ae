"""What tables are made from: the files of the jobs, found by the two names at the end of their
paths, and the base models that runs are compared with; rows as CSV, the same bytes each time.

Before any table is made, `require_config_settings` asks whether the results are those of the
settings in the config. The plan of the jobs sees to it that they are. This is the last look, at
what the artefacts say of themselves: a table that shows one setting beside the figures of another
must never be written.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.runtime.content import settings_of
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import csv_text, read_json, read_rows, write_text
from snaketune.tasks.task import ALL, Metric, Score

Row = dict[str, Any]


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Row]) -> None:
    """The table, whole or absent."""
    write_text(path, csv_text(columns, rows))


def all_columns(rows: Iterable[Row]) -> list[str]:
    """Every key of the rows, in the order of first sight."""
    return list(dict.fromkeys(key for row in rows for key in row))


NUMBER = ["value", "n", "low", "high"]
"""The columns of a metric's number."""


def number_of(metric: Metric) -> dict[str, float | None]:
    """A metric's number as columns of a table."""
    return {
        "value": metric["value"],
        "n": metric["n"],
        "low": metric["low"],
        "high": metric["high"],
    }


_KEPT = 12
"""Files of scores that are kept in memory: 1,319 rows with their texts are 5 to 10 MB."""


@dataclass(frozen=True)
class TableSources:
    """What the jobs wrote. Keys are (state, protocol name) or a run's name."""

    metrics: dict[tuple[str, str], dict[str, Any]]
    scores: dict[tuple[str, str], Path]
    train_meta: dict[str, dict[str, Any]]
    chosen: dict[str, dict[str, Any]]
    train_log: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    prediction_meta: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By dataset."""
    leakage: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Of one dataset that is trained on and another that is evaluated."""
    stats: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of a run's training rows."""
    _kept: dict[tuple[str, str], list[Score]] = field(default_factory=dict, repr=False)

    def document(self, state: str, plan: EvalPlan) -> dict[str, Any]:
        """The metrics file of a state under an eval's protocol."""
        return self.metrics[state, plan.protocol_name]

    def metric(self, state: str, plan: EvalPlan, name: str) -> Metric:
        """The row of a metric over all examples."""
        for row in self.document(state, plan)["rows"]:
            if row["metric"] == name and row["subset"] == ALL:
                return row
        raise KeyError(f"metrics/{state}/{plan.protocol_name}.json has no metric {name!r}")

    def seconds(self, state: str, plan: EvalPlan) -> float | None:
        """How long a state took under an eval's protocol; None where it wasn't asked here, or
        records of a job before were taken: a killed one's time, for one, nobody knows."""
        meta = self.prediction_meta.get((state, plan.protocol_name), {})
        return None if meta.get("resumed_records") else meta.get("seconds")

    def rows(self, state: str, plan: EvalPlan) -> list[Score]:
        """The scores of a state under an eval's protocol. The last ones are kept: a base is
        compared with run after run."""
        cell = state, plan.protocol_name
        found = self._kept.pop(cell, None)
        self._kept[cell] = rows = read_rows(self.scores[cell]) if found is None else found
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return rows


def read_sources(
    metrics: Iterable[Path],
    scores: Iterable[Path],
    train_meta: Iterable[Path],
    chosen: Iterable[Path],
    train_log: Iterable[Path] = (),
    prediction_meta: Iterable[Path] = (),
    manifests: Iterable[Path] = (),
    leakage: Iterable[Path] = (),
    stats: Iterable[Path] = (),
    tokens: Mapping[str, str] | None = None,
) -> TableSources:
    """Reads everything but the scores, which are read when they are compared. `tokens`: by run the
    name of its training rows."""
    across = [_json(path) for path in leakage]
    rows = {path.parent.name: _json(path) for path in stats}
    return TableSources(
        metrics={(path.parent.name, path.stem): _json(path) for path in metrics},
        scores={(path.parent.name, path.stem): path for path in scores},
        train_meta={path.parent.name: _json(path) for path in train_meta},
        chosen={path.parent.name: _json(path) for path in chosen},
        train_log={path.parent.name: read_rows(path) for path in train_log},
        prediction_meta={
            (path.parent.name, path.name.removesuffix(".meta.json")): _json(path)
            for path in prediction_meta
        },
        manifests={path.parent.name: _json(path) for path in manifests},
        leakage={(found["train"], found["test"]): found for found in across},
        stats={run: rows[key] for run, key in (tokens or {}).items() if key in rows},
    )


def _json(path: Path) -> dict[str, Any]:
    return read_json(path)


@dataclass(frozen=True)
class BasePlan:
    """A base model under the protocols of the runs that it stands beside."""

    state: str
    model: str
    evals: dict[str, EvalPlan]


def bases(plan: TablePlan) -> list[BasePlan]:
    """Each once for all evals that it has under one protocol, in the order of the runs."""
    found: list[BasePlan] = []
    models = {run.state: run.model for run in plan.runs}
    for run in plan.runs:
        base = base_of(run)
        if base is None:
            continue
        # A run that stands for a base may be of another model.
        base = replace(base, model=models.get(base.state, base.model))
        place = next((i for i, other in enumerate(found) if _agree(base, other)), None)
        if place is None:
            found.append(base)
        else:
            found[place] = replace(base, evals=found[place].evals | base.evals)
    return found


def _agree(one: BasePlan, other: BasePlan) -> bool:
    """Whether they are one state, under no two protocols of an eval."""
    if (one.state, one.model) != (other.state, other.model):
        return False
    return all(other.evals.get(name, spec) == spec for name, spec in one.evals.items())


def base_of(run: RunPlan) -> BasePlan | None:
    """What a run is compared with; None: nothing."""
    if run.base_state is None:
        return None
    return BasePlan(state=run.base_state, model=run.model, evals=run.evals)


_MISSING = "nothing"
_SHOWN = 10

ConfigSettings = Mapping[str, Mapping[str, Any]]


def require_config_settings(asked: ConfigSettings, sources: TableSources) -> None:
    """Compares the artefacts' records with `asked`: `training` by run, `states` by state and
    `protocols` by protocol, as the rules' params have them.

    Raises `UserError` that names, for each setting that differs, both values and the file.
    """
    faults = list(_differences(asked, sources))
    if faults:
        more = len(faults) - _SHOWN
        listed = "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
        listed += f"\n  and {more} more" if more > 0 else ""
        raise UserError(
            "results of other settings than the config's, of which no table is made:\n"
            f"{listed}\n"
            "Start the same command again; where that changes nothing, add --forcerun and the "
            "names of the files above, or set the config back."
        )


def _differences(asked: ConfigSettings, sources: TableSources) -> Iterator[str]:
    for run, settings in asked["training"].items():
        record = settings_of(sources.train_meta[run])
        yield from _differences_in(f"train/{run}/train_meta.json", settings, record)
    for (state, protocol), meta in sources.prediction_meta.items():
        if meta.get("made") != "elsewhere":
            record = {"state": settings_of(meta).get("identity")}
            place = f"predictions/{state}/{protocol}.meta.json"
            yield from _differences_in(place, {"state": asked["states"][state]}, record)
    for (state, protocol), document in sources.metrics.items():
        place = f"metrics/{state}/{protocol}.json"
        yield from _differences_in(place, asked["protocols"][protocol], document["protocol"])


def _differences_in(
    place: str, asked: Mapping[str, Any], record: Mapping[str, Any]
) -> Iterator[str]:
    """A line a setting, at any depth."""
    ours, theirs = dict(_leaves(asked)), dict(_leaves(record))
    for name in dict.fromkeys([*ours, *theirs]):
        wanted, found = ours.get(name, _MISSING), theirs.get(name, _MISSING)
        if wanted != found:
            yield f"{place}: found {name} {found!r}, the config says {wanted!r}"


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
