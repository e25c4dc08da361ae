"""docs/gpus.md: its figures are those of `snakemake check`.

    PYTHONPATH=workflow/scripts python tests/unit/test_docs_gpus.py

writes them into the page.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from snaketune.config.model import ModelSpec, Preset
from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.forecast import KINDS, TrainingForecast, replies, trainings
from snaketune.plan.overview import time_estimate

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gpus.md"
RECIPES = sorted((ROOT / "config" / "experiments").glob("*.yaml"))
SIZES = (0.5e9, 1.5e9, 3e9, 8e9, 14e9, 32e9, 70e9)
MARKED = re.compile(r"(<!-- (sizes|recipes): [^>]*-->\n)(.*?)(<!-- /\2 -->)", re.S)
_KINDS = [f"{kind.gigabytes} GB ({kind.such_as})" for kind in KINDS]


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, [*["---"] * 2, *["---:"] * (len(head) - 2)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def sizes() -> str:
    """Trainings by size and method, of a million tokens in rows of at most 2,048."""
    rows = []
    for size in SIZES:
        for method in ("qlora", "lora", "full"):
            model = ModelSpec(id="-", parameters=size)
            preset = Preset.model_validate({"method": method, "max_length": 2048, "epochs": 1})
            job = TrainingForecast("a", model, preset, 1000, 1e6, 2048, True)
            cells = [
                time_estimate(job.seconds(kind)) if job.needed <= kind.room else "too small"
                for kind in KINDS
            ]
            rows.append([f"{size / 1e9:g} B", method, f"{job.needed / 1e9:.0f} GB", *cells])
    return _table(["parameters", "method", "memory", *_KINDS], rows)


def recipes() -> str:
    """The same of whole recipes."""
    rows = []
    for file in RECIPES:
        experiment = load_experiment(yaml.safe_load(file.read_text(encoding="utf-8")), [file])
        plan, nowhere = make_plan(experiment), Path("nowhere")
        trained, asked = (f(experiment, plan, nowhere) for f in (trainings, replies))
        needed = [max(job.needed for job in jobs) / 1e9 for jobs in (trained, asked)]
        jobs = [*trained, *asked]
        cells = [
            time_estimate(sum(job.seconds(kind) for job in jobs))
            if max(needed) * 1e9 <= kind.room
            else "too small"
            for kind in KINDS
        ]
        rows.append([f"`{file.name}`", *(f"{n:.0f} GB" for n in needed), *cells])
    return _table(["recipe", "training", "eval", *_KINDS], rows)


TABLES = {"sizes": sizes, "recipes": recipes}


@pytest.mark.parametrize("name", TABLES)
def test_the_figures_are_those_of_check(name: str) -> None:
    found = {match[2]: match[3] for match in MARKED.finditer(PAGE.read_text(encoding="utf-8"))}
    assert found[name] == TABLES[name]()


def test_every_recipe_is_there() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{file.name}` |" in page for file in RECIPES) and len(RECIPES) == 5


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    page = MARKED.sub(lambda m: m[1] + TABLES[m[2]]() + m[4], page)
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write("".join(table() for table in TABLES.values()))
