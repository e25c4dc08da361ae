"""All figures of a report, by name."""

from collections.abc import Callable

from matplotlib.figure import Figure

from snaketune.report.confusions import matrices
from snaketune.report.figures.confusion import draw_confusion
from snaketune.report.figures.epochs import draw_epochs, draw_seconds
from snaketune.report.figures.hazards import draw_hazards
from snaketune.report.figures.lengths import draw_lengths
from snaketune.report.figures.loss import draw_loss
from snaketune.report.figures.reliability import Reliability, draw_reliability
from snaketune.report.figures.snapshots import draw_snapshots
from snaketune.report.figures.states import Point, draw_states
from snaketune.report.figures.style import colours, house_style, to_svg
from snaketune.report.figures.sweep import draw_sweep
from snaketune.report.figures.unique import draw_unique
from snaketune.report.figures.voting import draw_voting
from snaketune.report.hazards import GROUP, hazard_name
from snaketune.report.names import figure_names
from snaketune.report.sources import Sources
from snaketune.statistics.calibration import bins


def draw_all(sources: Sources) -> dict[str, str]:
    """SVG text by the names that `figure_names` promises."""
    with house_style():
        return {
            figure["name"]: to_svg(_draw(figure["name"], sources))
            for figure in figure_names(sources.plan)
        }


def _draw(name: str, sources: Sources) -> Figure:
    kind, _, eval_name = name.partition("-")
    names = {run["run"]: sources.shown(run["run"]) for run in sources.runs}
    drawers: dict[str, Callable[[], Figure]] = {
        "eval": lambda: _eval(sources, eval_name),
        "hazards": lambda: _hazards(sources, eval_name),
        "confusion": lambda: _confusion(sources, eval_name),
        "reliability": lambda: _reliability(sources, eval_name),
        "votes": lambda: draw_voting(
            labelled(sources, sources.voting, eval_name), state_colours(sources)
        ),
        "unique": lambda: draw_unique(
            labelled(sources, sources.unique_answers, eval_name), state_colours(sources)
        ),
        "sweep": lambda: draw_sweep([row for row in sources.sweep if row["eval"] == eval_name]),
        "snapshots": lambda: draw_snapshots(sources.checkpoints, state_colours(sources)),
        "epochs": lambda: draw_epochs(
            [row for row in sources.epochs if row["eval"] == eval_name],
            state_colours(sources),
            names,
        ),
        "training_time": lambda: draw_seconds(
            _one_a_run(sources.followed), "train_seconds", state_colours(sources), names
        ),
        "evaluation_time": lambda: draw_seconds(
            sources.followed, "evaluation_seconds", state_colours(sources), names
        ),
        "loss": lambda: draw_loss(
            sources.train_log,
            state_colours(sources),
            {run: meta["best_step"] for run, meta in sources.train_meta.items() if "best" in meta},
        ),
        "lengths": lambda: draw_lengths({k: v["train"] for k, v in sources.lengths.items()}),
    }
    return drawers[kind]()


def _one_a_run(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Training took the same time whichever eval a row is about."""
    return list({row["run"]: row | {"eval": ""} for row in rows}.values())


def state_colours(sources: Sources) -> dict[str, str]:
    """The same colour for a run in every figure."""
    bases = list(dict.fromkeys(run["base_state"] for run in sources.runs if run["base_state"]))
    return colours([run["state"] for run in sources.runs], bases)


def _eval(sources: Sources, eval_name: str) -> Figure:
    palette = state_colours(sources)
    least = {run["state"]: run["thresholds"] for run in sources.runs}
    cells = sources.cells(eval_name)
    points = []
    for (state, protocol), spec in cells:
        row = sources.metric((state, protocol), spec["primary"])
        points.append(
            Point(
                label=label(sources.shown(state), protocol, eval_name),
                value=row["value"],
                low=row["low"],
                high=row["high"],
                colour=palette[state],
                threshold=least.get(state, {}).get(f"{eval_name}.{spec['primary']}"),
            )
        )
    return draw_states(points, cells[0][1]["primary"].replace("_", " "))


def label(state: str, protocol: str, eval_name: str) -> str:
    """The state, and what its protocol changes of the eval's own settings."""
    changed = protocol.removeprefix(eval_name).lstrip("-")
    return f"{state} ({changed})" if changed else state


def labelled(sources: Sources, rows: list[dict[str, str]], eval_name: str) -> list[dict[str, str]]:
    """A table's rows of an eval with each state's label."""
    return [
        row | {"label": label(sources.shown(row["state"]), row["protocol"], eval_name)}
        for row in rows
        if row["eval"] == eval_name
    ]


def _hazards(sources: Sources, eval_name: str) -> Figure:
    rates = {}
    for (state, protocol), spec in sources.cells(eval_name):
        rows = sources.metrics[state, protocol]["rows"]
        rates[label(sources.shown(state), protocol, eval_name)] = {
            hazard_name(row["subset"].removeprefix(GROUP)): row["value"]
            for row in rows
            if row["subset"].startswith(GROUP) and row["metric"] == spec["primary"]
        }
    palette = state_colours(sources)
    states = {
        label(sources.shown(state), protocol, eval_name): palette[state]
        for (state, protocol), _ in sources.cells(eval_name)
    }
    return draw_hazards(rates, states)


def _confusion(sources: Sources, eval_name: str) -> Figure:
    found = matrices(sources, eval_name)
    return draw_confusion({label(sources.shown(m.cell[0]), m.cell[1], eval_name): m for m in found})


def _reliability(sources: Sources, eval_name: str) -> Figure:
    palette = state_colours(sources)
    states = {}
    for (state, protocol), _ in sources.cells(eval_name):
        scores = [s for s in sources.scores[state, protocol] if s["confidence"] is not None]
        found = bins([s["confidence"] for s in scores], [s["correct"] for s in scores])
        error = sources.metric((state, protocol), "ece")
        name = label(sources.shown(state), protocol, eval_name)
        states[name] = Reliability(found, error["value"] if error else None, palette[state])
    return draw_reliability(states)
