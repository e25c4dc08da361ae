"""The demo's run on stories, whole: fine-tuning helps in open answers and in multiple choice."""

import csv
import json

import yaml
from conftest import Project, keep


def test_reading_is_significantly_better_after_tuning(project: Project) -> None:
    file = project.folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    keep(config, runs={"reading"}, evals={"answers", "quiz"})
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    project.run()
    folder = project.folder / "results/demo"
    with (folder / "tables/comparisons.csv").open(newline="") as table:
        rows = {(row["eval"], row["metric"]): row for row in csv.DictReader(table)}
    for key in (("quiz", "accuracy"), ("answers", "f1")):
        assert rows[key]["verdict"] == "better", rows[key]
        assert float(rows[key]["low"]) > 0.1, "by more than ten points"
    found = json.loads((folder / "data/leakage/reading-quiz.json").read_text())
    assert list(found["comparisons"]) == ["test in reading"]
    assert found["comparisons"]["test in reading"]["exact"] == 0
    assert "quiz and reading" in (folder / "report.html").read_text()
