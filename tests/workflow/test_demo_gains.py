"""What the demo is to show: votes and rewards beat a single sample, and a verifier learned."""

import json

import yaml
from conftest import Project, keep


def test_votes_beat_a_single_sample_and_the_verifier_learned(project: Project) -> None:
    """The demo's own runs; only fewer questions are asked."""
    file = project.folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    keep(config, runs={"simple", "verifier"}, evals={"samples", "solutions"})
    config["models"]["reward"] = {"id": "data/demo/reward"}
    config["evals"]["samples"]["sample"]["count"] = 40
    file.write_text(yaml.safe_dump(config))
    names = {"simple": "samples", "verifier": "solutions"}
    project.run(*(f"results/demo/metrics/{run}/{name}.json" for run, name in names.items()))
    found = {}
    for run, name in names.items():
        document = json.loads(
            (project.folder / f"results/demo/metrics/{run}/{name}.json").read_text()
        )
        rows = document["rows"]
        found[run] = {row["metric"]: row for row in rows if row["subset"] == "all"}
    samples = found["simple"]
    single = samples["accuracy"]["value"]
    assert samples["majority"]["n"] == 40
    assert samples["majority"]["value"] > single + 0.02
    assert samples["best_of_n"]["value"] > single + 0.02
    assert found["verifier"]["accuracy"]["low"] > 0.5, "better than a coin"
