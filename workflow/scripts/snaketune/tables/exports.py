"""The results as others read them: Markdown, LaTeX, and result files of lm-evaluation-harness.

- `results.md` and `results.tex`: a row a run and eval, base and tuned, difference with interval, n,
  p and verdict. Whatever a name holds is text in both.
- `lm_eval/{state}.json`: what `lm_eval --output_path` writes, as far as it applies; an eval stands
  under its protocol's name. Nothing of it depends on the date: the same results, the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from snaketune.config.base import TASKS
from snaketune.plan.table_plan import (
    EvalPlan,
    TablePlan,
    change_figure,
    compared_in,
    exported_states,
    level_figure,
    p_figure,
)
from snaketune.runtime.errors import in_markdown, visible
from snaketune.runtime.files import write_json, write_text
from snaketune.tables.sources import TableSources
from snaketune.tasks.task import ALL, Outcome, Score, task_of

Json = Mapping[str, Any]
_HEAD = [
    "eval",
    "run",
    "metric",
    "base",
    "tuned",
    "difference",
    "95 % interval",
    "n",
    "p",
    "verdict",
]
_ALIGNED = "lllrrrrrll"


def write_exports(plan: TablePlan, sources: TableSources, final: Json, folder: Path) -> None:
    """All of them; `final` is `final_metrics.json`."""
    write_text(folder / "results.md", results_markdown(final))
    write_text(folder / "results.tex", results_latex(final))
    for state in exported_states(plan):
        write_json(folder / "lm_eval" / f"{state}.json", harness_results(state, plan, sources))


def _cells(final: Json) -> Iterator[list[str]]:
    """A line a run and eval, evals together."""
    names = dict.fromkeys(name for run in final["runs"] for name in run["evals"])
    for name in names:
        for run in final["runs"]:
            if name in run["evals"]:
                yield [name, run["run"], *_numbers(run, name)]


def _numbers(run: Json, name: str) -> list[str]:
    found, base = run["evals"][name], run["base_evals"].get(name)
    said, metric = run["verdicts"][name], found["metric"]
    compared = compared_in(said)
    if not compared["n"]:
        difference = interval = p = "–"
    else:
        low, high = compared["low"], compared["high"]
        difference, *ends = (
            change_figure(value, metric)
            for value in (compared["difference"], low, high)
            if value is not None
        )
        interval = " to ".join(ends) or "–"
        p = p_figure(compared["p_holm"])
    values = [_level(base["value"], metric) if base else "–", _level(found["value"], metric)]
    return [metric, *values, difference, interval, f"{found['n']:,}", p, said["kind"]]


def _level(value: float | None, metric: str) -> str:
    return "missing" if value is None else level_figure(value, metric)


_NOTE = (
    "Differences in points (of what is no share, in its own numbers) on the same rows; p adjusted "
    "for all runs on an eval (Holm); better is said of what is gained in content, not in the "
    "answer's form alone."
)


def results_markdown(final: Json) -> str:
    """The headline, the table and each verdict's sentence."""
    lines = [f"# {in_markdown(final['experiment'])}", ""]
    lines += [f"- {in_markdown(sentence)}" for sentence in final["headline"]]
    lines += ["", f"| {' | '.join(_HEAD)} |"]
    lines.append(f"|{'|'.join(' ---: ' if a == 'r' else ' --- ' for a in _ALIGNED)}|")
    lines += [f"| {' | '.join(map(in_markdown, cells))} |" for cells in _cells(final)]
    lines += ["", _NOTE, ""]
    lines += [
        f"- {in_markdown(run['run'])}, {in_markdown(name)}: {in_markdown(said['sentence'])}"
        for run in final["runs"]
        for name, said in run["verdicts"].items()
    ]
    return "\n".join(lines) + "\n"


def results_latex(final: Json) -> str:
    """A `tabular` of the booktabs package."""
    lines = ["% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{_ALIGNED}}}", "\\toprule"]
    lines += [_latex_row(_HEAD), "\\midrule", *map(_latex_row, _cells(final)), "\\bottomrule"]
    return "\n".join([*lines, "\\end{tabular}", f"% {_latex(_NOTE)}"]) + "\n"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(map(_latex, cells)) + " \\\\"


_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    | {"<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "''"}
    | {"−": "$-$", "–": "--", "\n": " ", "\r": " "}
)


def _latex(text: str) -> str:
    return visible(text).translate(_LATEX)


# Names by which lm-evaluation-harness has what is measured here; others keep theirs.
_HARNESS = {
    ("math", "accuracy"): "exact_match,strict-match",
    ("math", "accuracy_flexible"): "exact_match,flexible-extract",
    ("multiple_choice", "accuracy_sum"): "acc,none",
    ("multiple_choice", "accuracy_per_character"): "acc_norm,none",
    ("perplexity", "word_perplexity"): "word_perplexity,none",
    ("perplexity", "bits_per_byte"): "bits_per_byte,none",
}
_LESS = ("brier", "ece", "unparsed", "unparsed_flexible", "truncated", "overlong", "empty")


def harness_results(state: str, plan: TablePlan, sources: TableSources) -> dict[str, Any]:
    """A state's evals in the form of lm-evaluation-harness's `results_*.json`."""
    found = dict(_evals_of(state, plan))
    documents = {name: sources.document(state, spec) for name, spec in found.items()}
    counts = {name: document["counts"]["total"] for name, document in documents.items()}
    shots = {
        name: document["protocol"].get("few_shot") or 0 for name, document in documents.items()
    }
    # A run that others are held against stands for itself first.
    runs = sorted(plan.runs, key=lambda run: run.state != state)
    model = next(run.model for run in runs if state in (run.state, run.base_state))
    return {
        "results": {name: _measured(name, state, spec, sources) for name, spec in found.items()},
        "group_subtasks": {name: [] for name in found},
        "configs": {
            name: {
                "task": name,
                "dataset_path": document["protocol"].get("dataset"),
                "test_split": document["protocol"].get("split"),
                "num_fewshot": shots[name],
                "metadata": {
                    "version": task_of(found[name].task).version,
                    "protocol": document["protocol"],
                    "protocol_hash": document["protocol_hash"],
                },
            }
            for name, document in documents.items()
        },
        "versions": {name: task_of(spec.task).version for name, spec in found.items()},
        "n-shot": shots,
        "higher_is_better": {name: _directions(spec.task) for name, spec in found.items()},
        "n-samples": {name: {"original": n, "effective": n} for name, n in counts.items()},
        "config": {"model": "snaketune", "model_args": f"model={model},state={state}"},
        "model_source": "snaketune",
        "model_name": state,
    }


def _evals_of(state: str, plan: TablePlan) -> Iterator[tuple[str, EvalPlan]]:
    for run in plan.runs:
        if state in (run.state, run.base_state):
            yield from ((spec.protocol_name, spec) for spec in run.evals.values())


def _measured(name: str, state: str, spec: EvalPlan, sources: TableSources) -> dict[str, Any]:
    """Each metric over all rows with its standard error, `N/A` where there is none."""
    paired, scores = task_of(spec.task).paired, sources.rows(state, spec)
    row: dict[str, Any] = {"alias": name}
    for found in sources.document(state, spec)["rows"]:
        if found["subset"] == ALL and found["value"] is not None:
            metric, _, way = _named(spec.task, found["metric"]).partition(",")
            error = _error(scores, paired[found["metric"]]) if found["metric"] in paired else None
            row[f"{metric},{way}"] = found["value"]
            row[f"{metric}_stderr,{way}"] = "N/A" if error is None else error
    return row


def _named(task: str, metric: str) -> str:
    return _HARNESS.get((task, metric), f"{metric},none")


def _error(scores: list[Score], outcome: Outcome) -> float | None:
    """The standard error of the mean, as the harness has it: of rows as if each were its own."""
    values = [float(value) for score in scores if (value := outcome(score)) is not None]
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def _directions(task: str) -> dict[str, bool]:
    better = {_named(task, goal).partition(",")[0]: True for goal in TASKS[task].goals}
    return better | dict.fromkeys(_LESS, False)
