"""What the demo is to show: the gain is one in content, from a base that answers in the form and by
its luck at least; votes and rewards beat a single sample, and a verifier learned."""

import json

import yaml
from conftest import Project, keep

CHANCE = {"base-tiny-nf4": {"quiz": 1 / 4}, "base-checker": {"solutions": 1 / 2}}


def test_the_gain_is_content_votes_help_and_the_verifier_learned(project: Project) -> None:
    """The demo's own runs; only fewer questions are asked, and of reading its base alone."""
    file = project.folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    evals = {"math", "samples", "solutions", "quiz", "answers"}
    keep(config, runs={"simple", "reading", "verifier"}, evals=evals)
    config["models"]["reward"] = {"id": "data/demo/reward"}
    config["evals"]["samples"]["sample"]["count"] = 40
    config["evals"]["math"]["sample"] = {"count": 160, "seed": 1}
    file.write_text(yaml.safe_dump(config))
    asked = [
        ("simple", "math"),
        ("simple", "samples"),
        ("verifier", "solutions"),
        ("base-tiny-nf4", "math"),
        ("base-tiny-nf4", "quiz"),
        ("base-tiny-nf4", "answers"),
        ("base-checker", "solutions"),
    ]
    project.run(*(f"results/demo/metrics/{state}/{name}.json" for state, name in asked))
    found = {(state, name): metrics(project, state, name) for state, name in asked}

    samples = found["simple", "samples"]
    single = samples["accuracy"]["value"]
    assert samples["majority"]["n"] == 40
    assert samples["majority"]["value"] > single + 0.02
    assert samples["best_of_n"]["value"] > single + 0.02
    assert found["verifier", "solutions"]["accuracy"]["low"] > 0.5, "better than a coin"

    base, tuned = (
        {name: row["value"] for name, row in found[state, "math"].items()}
        for state in ("base-tiny-nf4", "simple")
    )
    gains = [tuned[name] - base[name] for name in ("accuracy", "accuracy_flexible")]
    assert min(gains) >= 0.15, "of content: however replies are read"
    assert abs(gains[0] - gains[1]) <= 0.05, "both readings agree"
    assert base["unparsed"] <= 0.2, "most replies are in the form"
    assert base["accuracy"] >= 0.2, "problems of one step are known"

    for state, chances in CHANCE.items():
        for name, chance in chances.items():
            assert found[state, name]["accuracy"]["high"] >= chance, "not below chance"
            assert found[state, name]["accuracy"]["value"] >= chance - 0.03, (state, name)
    assert found["base-checker", "solutions"]["mass"]["value"] >= 0.6, "it says what is named"
    reading = found["base-tiny-nf4", "answers"]
    assert reading["truncated"]["value"] <= 0.25, "most answers are short before it, too"
    assert reading["exact"]["value"] >= 0.08, "some number or calculation, now and then the right"


def metrics(project: Project, state: str, name: str) -> dict[str, dict]:
    """The rows of all examples, by metric."""
    file = project.folder / f"results/demo/metrics/{state}/{name}.json"
    return {r["metric"]: r for r in json.loads(file.read_text())["rows"] if r["subset"] == "all"}
