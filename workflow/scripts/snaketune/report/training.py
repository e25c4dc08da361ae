"""How the runs were trained, their speed and memory, and what all jobs requested beside what they
used, so that the next experiment can request what it needs.
"""

from collections.abc import Callable, Mapping
from typing import TypedDict

from snaketune.report.sources import Cell, CsvRow, Json, ReportSources
from snaketune.report.style import number, points, size
from snaketune.runtime.content import flat, settings_of
from snaketune.runtime.errors import visible
from snaketune.runtime.job import duration

MEASURED = ("main_memory_bytes", "gpu_memory_bytes", "job_seconds")
"""What every job that loads a model records of itself."""


class SettingsTable(TypedDict):
    """A table with a column a run."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]
    """(name, text by run)"""
    folded: list[tuple[str, list[str]]]
    """Rows of less interest."""


_RESOURCES: tuple[str, ...] = (
    "wall_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
    "device_name",
)
_RESOURCES += ("steps", "tokens", "trained_tokens", "final_loss", "best", "best_step", "best_value")
_SHOWN = len(_RESOURCES)
_ELSEWHERE = ("model", "method", "seed", *MEASURED)
"""They stand among the settings, or beside what was asked for."""
_NAMES = {
    "wall_seconds": "time",
    "tokens_per_second": "tokens a second",
    "peak_memory_bytes": "peak memory",
    "device_name": "processor",
}


def settings_table(sources: ReportSources) -> SettingsTable:
    """Hyperparameters by run: what differs is shown, what all share is behind a fold."""
    found = {
        run.run: {
            "model": run.model,
            "training data": run.train_data,
            **_recorded(sources.train_meta[run.run]),
        }
        for run in sources.runs
        if run.run in sources.train_meta
    }
    rows = _rows(found)
    if len(found) == 1:
        return SettingsTable(columns=list(found), rows=rows, folded=[])
    differs = [row for row in rows if len(set(row[1])) > 1]
    return SettingsTable(
        columns=list(found), rows=differs, folded=[r for r in rows if r not in differs]
    )


def _recorded(meta: Json) -> Json:
    """Seed and hyperparameters, as the training itself recorded them."""
    settings = settings_of(meta)
    return {"seed": settings["seed"], **flat(settings["preset"])}


def resources_table(sources: ReportSources) -> SettingsTable:
    """Training time, speed, memory and device by run."""
    rows = _rows({run: _measured(meta) for run, meta in sources.train_meta.items()})
    return SettingsTable(columns=list(sources.train_meta), rows=rows[:_SHOWN], folded=rows[_SHOWN:])


def _rows(found: dict[str, Json]) -> list[tuple[str, list[str]]]:
    keys = dict.fromkeys(key for row in found.values() for key in row)
    return [(_setting_name(key), [number(row.get(key)) for row in found.values()]) for key in keys]


def _setting_name(key: str) -> str:
    return _NAMES.get(key, key.replace("_", " "))


def _measured(meta: Json) -> Json:
    """What was measured, what it took first; digests and versions have their place elsewhere."""
    plain = {k: v for k, v in meta.items() if not isinstance(v, dict | list)}
    shown = {k: plain[k] for k in _RESOURCES if k in plain}
    shown |= {k: v for k, v in plain.items() if k not in _ELSEWHERE and not k.endswith("sha256")}
    if isinstance(shown.get("wall_seconds"), int | float):
        shown["wall_seconds"] = duration(shown["wall_seconds"])
    if isinstance(shown.get("peak_memory_bytes"), int | float):
        shown["peak_memory_bytes"] = size(shown["peak_memory_bytes"])
    return shown


class CostLine(TypedDict):
    """What a run cost on one eval, as readers see it; what is not known is `–`."""

    run: str
    eval: str
    cells: list[str]
    """By `COSTS`."""


COSTS = (
    *("device time", "tokens learned", "a second", "memory at most", "energy", "eval time"),
    *("eval energy", "points gained in content", "device time a point", "energy a point"),
)


def cost_lines(sources: ReportSources) -> list[CostLine]:
    """The rows of `cost.csv`; of what was trained elsewhere the eval alone."""
    return [
        CostLine(run=sources.shown(row["run"]), eval=row["eval"], cells=_costs(row))
        for row in sources.cost
    ]


def _costs(row: CsvRow) -> list[str]:
    memory = "device" if row["train_device_memory_bytes"] else "main"
    return [
        _known(row["train_device_seconds"], duration),
        _known(row["train_tokens"], lambda tokens: f"{tokens:,.0f}"),
        _known(row["train_tokens_per_second"], lambda tokens: f"{tokens:,.0f}"),
        _known(row[f"train_{memory}_memory_bytes"], size),
        _known(row["train_energy_joules"], _energy),
        _known(row["eval_seconds"], duration),
        _known(row["eval_energy_joules"], _energy),
        _known(row["points_gained"], lambda gained: points(gained / 100)),
        _known(row["device_seconds_per_point"], duration),
        _known(row["energy_joules_per_point"], _energy),
    ]


def _known(cell: str, write: Callable[[float], str]) -> str:
    return write(float(cell)) if cell else "–"


def _energy(joules: float) -> str:
    """`850 J`, `12.4 kJ`, `1.2 kWh`"""
    if joules >= 3.6e6:
        return f"{joules / 3.6e6:.3g} kWh"
    return f"{joules:.3g} J" if joules < 1000 else f"{joules / 1000:.4g} kJ"


class AdapterTable(TypedDict):
    """Of runs whose adapters are alike: (name over all layers and their number, parameters)."""

    runs: list[str]
    adapters: list[tuple[str, str]]
    left: list[tuple[str, str]]
    """What has none, with its own parameters."""
    total: str


def adapter_tables(sources: ReportSources) -> list[AdapterTable]:
    """Which linear layers and experts of each trained model got an adapter, and which none."""
    alike: dict[str, AdapterTable] = {}
    for run, meta in sources.train_meta.items():
        if not meta.get("adapters"):
            continue
        table = AdapterTable(
            runs=[],
            adapters=[_adapted(row) for row in meta["adapters"]],
            left=[_adapted(row) for row in meta["without_adapter"]],
            total=_short(sum(row["parameters"] for row in meta["adapters"])),
        )
        alike.setdefault(repr(table), table)["runs"].append(sources.shown(run))
    return list(alike.values())


def _adapted(row: Json) -> tuple[str, str]:
    return visible(f"{row['modules']} × {row['count']}"), _short(row["parameters"])


def _short(count: float) -> str:
    """A number of parameters: `1.2 M`"""
    for unit in ("", " k", " M"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} B"


class JobUsage(TypedDict):
    """A row: the jobs of a kind, each figure the largest of them."""

    name: str
    jobs: int
    cells: list[tuple[str, str]]
    """(asked for, used) of main memory and of time, (expected, used) of a GPU's memory."""
    over: bool
    """Whether more was used than asked for at first."""


def usage_rows(sources: ReportSources) -> list[JobUsage]:
    """A row a training, and for all states of an eval one of the model's jobs and one of the judge
    or reward model."""
    requests = sources.requests
    trained = requests.get("training", {})
    rows = [
        _row(f"training of {sources.shown(run)}", {run: request}, {run: meta})
        for run, meta in sources.train_meta.items()
        if (request := trained.get(run, {}).get(str(meta.get("processes"))))
    ]
    replied, helped = requests.get("evaluation", {}), requests.get("helpers", {})
    judged = sources.verdict_meta | sources.reward_meta
    for protocol in {**replied, **helped}:
        rows.append(_of_states(protocol, protocol, replied, sources.prediction_meta))
        rows.append(_of_states(f"judging of {protocol}", protocol, helped, judged))
    return [row for row in rows if row["jobs"]]


def _of_states(
    name: str, protocol: str, requested: Mapping[str, Json], metas: Mapping[Cell, Json]
) -> JobUsage:
    needs = requested.get(protocol, {})
    used = {state: metas[state, protocol] for state in needs if (state, protocol) in metas}
    return _row(name, needs, used)


def _row(name: str, requested: Mapping[str, Json], used: Mapping[str, Json]) -> JobUsage:
    """Jobs of before these figures were kept, and those that ran elsewhere, are left out."""
    jobs = {job: meta for job, meta in used.items() if MEASURED[0] in meta}
    figures = [
        (_most(requested, jobs, lambda r: r["memory"]), _peak(jobs, MEASURED[0])),
        (_most(requested, jobs, lambda r: r["gpu_memory"]), _peak(jobs, MEASURED[1])),
        (_most(requested, jobs, lambda r: r["minutes"] * 60), _peak(jobs, MEASURED[2])),
    ]
    shown = [size, size, duration]
    cells = [
        (write(wanted), "none" if took is None else write(took))
        for write, (wanted, took) in zip(shown, figures, strict=True)
    ]
    # A GPU comes whole: nothing asks for a part of its memory.
    over = any(took is not None and took > wanted for wanted, took in (figures[0], figures[2]))
    return JobUsage(name=name, jobs=len(jobs), cells=cells, over=over)


def _most(
    requested: Mapping[str, Json], jobs: Mapping[str, Json], figure: Callable[[Json], float]
) -> float:
    return max((figure(requested[job]) for job in jobs), default=0)


def _peak(jobs: Mapping[str, Json], key: str) -> float | None:
    return max((meta[key] for meta in jobs.values() if meta[key] is not None), default=None)
