"""Figures of results: what runs changed, a metric by state, safe rates by hazard, sweeps."""

from typing import Any, TypedDict

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snaketune.plan.table_plan import PLAIN, level_figure
from snaketune.report.findings import Effect, effects
from snaketune.report.sources import CsvRow, ReportSources
from snaketune.report.style import (
    BASE,
    COLOURS,
    FAINT,
    HAZARD_GROUP,
    INK,
    hazard_name,
    new_figure,
    percent_axis,
    printable,
    state_colours,
)

_UP, _DOWN = ("^", COLOURS[2]), ("v", COLOURS[6])
_LOOK = {"better": _UP, "partly form": _UP, "worse": _DOWN}
"""Marker and colour by the verdict's kind; what is neither is a grey dot."""


def effects_figure(sources: ReportSources) -> Figure:
    """What every run changed on every eval."""
    return draw_effects(effects(sources))


def draw_effects(found: list[Effect]) -> Figure:
    """A forest plot: under each eval a row a run, with the difference in points and its 95 %
    interval. It is narrow, so that a phone shows all of it."""
    heads = [e for i, e in enumerate(found) if not i or e["eval"] != found[i - 1]["eval"]]
    figure, axes = new_figure(height=0.6 + 0.25 * (len(found) + len(heads)), width=4.6)
    names: list[tuple[str, bool]] = []
    for effect in found:
        if effect in heads:
            names.append((printable(effect["eval"], 22), True))
        _draw_effect(axes, effect, len(names))
        names.append((printable(effect["run"], 22), False))
    axes.axvline(0, color=INK, lw=0.9, zorder=0)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [name for name, _ in names])
    for label, (_, is_head) in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if is_head else "normal")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(_whole_points)
    axes.margins(x=0.08)
    axes.grid(axis="x")
    plain = any(effect["metric"].replace(" ", "_") in PLAIN for effect in found)
    axes.set_xlabel("points against the base" + ("; where there are none, hundredths" * plain))
    return figure


def _whole_points(value: float, _: float) -> str:
    return f"{100 * value:+.0f}".replace("-", "−") if round(100 * value) else "0"


def _draw_effect(axes: Axes, effect: Effect, y: int) -> None:
    marker, colour = _LOOK.get(effect["verdict"], ("o", BASE))
    value = effect["difference"]
    if value is None:
        axes.text(0, y, " not compared", va="center", style="italic", fontsize=8.5)
        return
    ends: list[Any] = [effect["low"], effect["high"]]  # None draws nothing
    axes.plot(ends, [y, y], color=colour, lw=2.2)
    axes.plot(value, y, marker, color=colour, ms=7)


class PlottedPoint(TypedDict):
    """One state's value; None is drawn as "missing"."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    colour: str
    threshold: float | None
    """What the state has to reach; None: nothing."""


def states_figure(sources: ReportSources, eval_name: str) -> Figure:
    """The primary metric of an eval."""
    palette = state_colours(sources)
    least = {run.state: run.thresholds for run in sources.runs}
    cells = sources.cells(eval_name)
    points = []
    for cell, spec in cells:
        row = sources.primary(cell, spec)
        points.append(
            PlottedPoint(
                label=sources.label(cell, eval_name),
                value=row["value"],
                low=row["low"],
                high=row["high"],
                colour=palette[cell[0]],
                threshold=least.get(cell[0], {}).get(f"{eval_name}.{spec.primary}"),
            )
        )
    return draw_states(points, cells[0][1].primary)


def draw_states(points: list[PlottedPoint], metric: str) -> Figure:
    """A dot and a 95 % interval a state, the first on top, and its threshold as a dashed mark."""
    plain = metric in PLAIN
    figure, axes = new_figure(height=0.9 + 0.42 * len(points), width=5.4)
    for y, point in enumerate(points):
        if (least := point["threshold"]) is not None:
            axes.plot([least, least], [y - 0.32, y + 0.32], color=INK, lw=1.2, ls=(0, (2, 1.5)))
        if point["value"] is None:
            axes.text(0.01, y, "missing", va="center", style="italic")
            continue
        ends: list[Any] = [point["low"], point["high"]]  # None draws nothing
        axes.plot(ends, [y, y], color=point["colour"], lw=2.4)
        axes.plot(point["value"], y, "o", color=point["colour"], ms=7)
        told = level_figure(point["value"], metric) if plain else f"{100 * point['value']:.1f} %"
        axes.annotate(
            told, (point["value"], y), (0, 7), ha="center",
            textcoords="offset points", fontsize=8.5, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(points)), [printable(point["label"]) for point in points])
    axes.set_ylim(len(points) - 0.5, -0.75)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(metric.replace("_", " "))
    if not plain:
        percent_axis(axes)
    return figure


Rates = dict[str, float | None]
"""By hazard."""


def hazards_figure(sources: ReportSources, eval_name: str) -> Figure:
    """The primary metric of an eval by group of hazards."""
    palette = state_colours(sources)
    rates, colours = {}, {}
    for cell, spec in sources.cells(eval_name):
        name = sources.label(cell, eval_name)
        colours[name] = palette[cell[0]]
        rates[name] = {
            hazard_name(row["subset"].removeprefix(HAZARD_GROUP)): row["value"]
            for row in sources.metrics[cell]["rows"]
            if row["subset"].startswith(HAZARD_GROUP) and row["metric"] == spec.primary
        }
    return draw_hazards(rates, colours)


def draw_hazards(rates: dict[str, Rates], colours: dict[str, str]) -> Figure:
    """A row a hazard, a dot a state; a hazard without verdicts in a state has no dot there."""
    hazards = list(dict.fromkeys(hazard for found in rates.values() for hazard in found))
    figure, axes = new_figure(height=1.1 + 0.34 * len(hazards), width=5.4)
    for y, hazard in enumerate(hazards):
        known = [rate for found in rates.values() if (rate := found.get(hazard)) is not None]
        if known:
            axes.plot([min(known), max(known)], [y, y], color=FAINT, lw=2, zorder=1)
    for i, (state, found) in enumerate(rates.items()):
        # States a little apart: equal rates would hide each other.
        apart = 0.15 * (i - (len(rates) - 1) / 2)
        dots = [
            (rate, y + apart)
            for y, hazard in enumerate(hazards)
            if (rate := found.get(hazard)) is not None
        ]
        axes.scatter(
            [x for x, _ in dots], [y for _, y in dots], s=38, color=colours[state],
            label=printable(state), zorder=2, alpha=0.9, linewidths=0,
        )  # fmt: skip
    axes.set_yticks(range(len(hazards)), [printable(hazard) for hazard in hazards])
    axes.set_ylim(max(len(hazards), 1) - 0.5, -0.6)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("safe rate")
    percent_axis(axes)
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)))


_PANELS_ACROSS = 3
_NAMED_LINES = 8  # in a legend; further lines are drawn but not named


def sweep_figure(sources: ReportSources, eval_name: str) -> Figure:
    """The primary metric of an eval, of every swept run."""
    return draw_sweep([row for row in sources.sweep if row["eval"] == eval_name])


def draw_sweep(rows: list[CsvRow]) -> Figure:
    """A panel a swept key, with a line for each setting of the other keys; `rows` are of one eval.

    Values stand at equal distances, in order: learning rates and ranks are tried by factors.
    """
    swept = _swept(rows[0])
    keys = [key for key in swept if len(values_of(rows, key)) > 1] or swept or ["model"]
    across = min(_PANELS_ACROSS, len(keys))
    down = -(-len(keys) // across)
    figure = Figure(figsize=(7.2, 2.7 * down + 0.3), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    for axes, key in zip(panels, keys, strict=False):
        _sweep_panel(axes, rows, key)
    for axes in panels[len(keys) :]:
        axes.remove()
    panels[0].set_ylabel(rows[0]["metric"].replace("_", " "))
    return figure


def values_of(rows: list[CsvRow], key: str) -> list[str]:
    """The values of a swept key, numbers by size and texts as they come."""
    found = list(dict.fromkeys(row[key] for row in rows if row[key]))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def _sweep_panel(axes: Axes, rows: list[CsvRow], key: str) -> None:
    values = values_of(rows, key)
    lines: dict[tuple[str, ...], list[CsvRow]] = {}
    for row in rows:
        if row[key] and row["value"]:
            lines.setdefault(_other_settings(row, key, rows), []).append(row)
    for number, (others, members) in enumerate(lines.items()):
        members = sorted(members, key=lambda row: values.index(row[key]))
        at = [values.index(row[key]) for row in members]
        colour = COLOURS[number % len(COLOURS)]
        label = printable(", ".join(others), 34) if number < _NAMED_LINES else None
        axes.plot(at, [float(r["value"]) for r in members], "o-", color=colour, ms=5, label=label)
        spread = [(x, r) for x, r in zip(at, members, strict=True) if r["low"]]
        low, high = ([float(r[side]) for _, r in spread] for side in ("low", "high"))
        axes.vlines([x for x, _ in spread], low, high, color=colour, alpha=0.6)
    axes.set_xticks(range(len(values)), [printable(value, 14) for value in values])
    axes.set_xlim(-0.4, len(values) - 0.6)
    axes.set_xlabel(key)
    percent_axis(axes, "y")
    if len(lines) > 1:
        axes.legend(fontsize=7)


def _other_settings(row: CsvRow, key: str, rows: list[CsvRow]) -> tuple[str, ...]:
    """What else a run differs in from others of the sweep."""
    swept = _swept(row)
    names = ("model", "train_data", *swept)
    told = [name for name in names if name != key and len({r[name] for r in rows}) > 1]
    return tuple(f"{name} {row[name]}" if name in swept else row[name] for name in told)


def _swept(row: CsvRow) -> list[str]:
    """The columns of the values that the sweep set: those behind the number's."""
    columns = list(row)
    return columns[columns.index("high") + 1 :]
