"""What a plan says of a GPU before anything runs: rows, steps and tokens against a recorded
training, time against measured ones, memory against what fits in practice."""

import json
from pathlib import Path

import pytest
import yaml

from snaketune.config.changes import with_test_splits
from snaketune.config.experiment import Experiment
from snaketune.config.model import ModelSpec, Preset
from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.forecast import KINDS, GpuKind, TrainingForecast, replies, trainings
from snaketune.plan.overview import known_here, overview

RECIPES = sorted((Path(__file__).parents[2] / "config/experiments").glob("*.yaml"))
H100 = GpuKind(80, "H100", 989e12, 3.35e12)


def training(parameters: float, rows: int, tokens: float, **preset: object) -> TrainingForecast:
    model = ModelSpec(id="-", parameters=parameters)
    return TrainingForecast("a", model, Preset.model_validate(preset), rows, tokens, 2048, True)


def test_steps_and_tokens_are_those_of_a_recorded_training() -> None:
    """The demo's run `simple`: 1,897 rows, 0.6 epochs in batches of 16."""
    found = training(1e6, 1897, 116_581 / 0.5998945703742752, epochs=0.6, batch_size=16)
    assert found.steps == 72
    assert found.tokens == pytest.approx(116_581, rel=0.02)


def test_steps_are_those_that_a_training_counts() -> None:
    from snaketune.training.batches import Order

    for rows, epochs, batch, most in ((10, 1, 4, None), (7, 2.5, 3, None), (100, 3, 8, 5)):
        preset = {"epochs": epochs, "batch_size": batch, "max_steps": most}
        order = Order(rows=rows, batch=batch, epochs=epochs, seed=1, max_steps=most)
        assert training(1e6, rows, 1.0, **preset).steps == order.total_steps
    few = training(1e6, 100, 1000.0, epochs=3, batch_size=8, max_steps=5)
    assert few.tokens == 400, "40 of 100 rows"


@pytest.mark.parametrize(("parameters", "measured"), [(1.54e9, 37_900), (8.03e9, 12_000)])
def test_the_rate_is_about_the_one_measured(parameters: float, measured: float) -> None:
    """LoRA on an H100, as docs/gpus.md says."""
    found = training(parameters, 1000, 1e6, method="lora", epochs=1)
    assert 0.6 < found.tokens / found.seconds(H100) / measured < 1.5


@pytest.mark.parametrize(
    ("parameters", "preset", "fits"),
    [
        # As these are run in practice.
        (8.03e9, {"method": "qlora"}, [True, True, True]),
        (8.03e9, {"method": "lora"}, [True, True, True]),
        (4.3e9, {"method": "full", "max_length": 1024}, [False, False, True]),
        (70e9, {"method": "qlora"}, [False, False, True]),
        (70e9, {"method": "lora"}, [False, False, False]),
    ],
)
def test_what_fits(parameters: float, preset: dict, fits: list[bool]) -> None:
    found = training(parameters, 1000, 1e6, **preset)
    assert [found.needed <= kind.room for kind in KINDS] == fits


def test_what_would_make_it_fit_fits_and_a_little_more_does_not() -> None:
    found = training(4.3e9, 1000, 1e6, method="full", max_length=2048)
    room = KINDS[0].room
    told = list(found.remedies(room))
    assert [words.split(" (")[0] for words in told] == [
        "method: lora", "method: qlora", "a model of at most 1.4 B parameters",
    ]  # fmt: skip
    assert training(1.35e9, 9, 9, method="full").needed <= room
    assert training(1.45e9, 9, 9, method="full").needed > room
    assert not [w for w in training(70e9, 9, 9, method="qlora").remedies(room) if "method" in w]
    paged = list(training(4.3e9, 9, 9, method="full").remedies(KINDS[1].room))
    assert paged[0].startswith("optimizer: paged_adamw_8bit")


def experiment(**more: object) -> Experiment:
    return Experiment.model_validate(
        {
            "experiment": "e",
            "models": {"m": {"id": "org/m-1.5B"}, "j": {"id": "org/j-8B"}},
            "datasets": {
                "d": {"source": "data/demo/math", "format": "gsm8k", "dev": 30},
                "far": {"source": "hub:org/far", "format": "gsm8k"},
            },
            "presets": {"p": {"batch_size": 8}},
            "evals": {
                "d": {"task": "math", "dataset": "d", "sample": {"fraction": 0.5}},
                "far": {"task": "math", "dataset": "far", "few_shot": 2},
            },
            "runs": {"a": {"model": "m", "preset": "p", "train": "d"}},
        }
        | more
    )


def test_what_is_there_is_counted_and_what_is_not_is_marked(tmp_path: Path) -> None:
    config = experiment()
    plan = make_plan(config)
    [assumed] = trainings(config, plan, tmp_path)
    assert (assumed.rows, assumed.known) == (10_000, False)
    text = overview(config, plan, tmp_path, [])
    assert "~10,000" in text and "not known before the data is prepared" in text

    write(tmp_path / "data/d/manifest.json", {
        "splits": {
            "train": {"in": 90, "out": 85, "rejected": {"no answer": 5}},
            "test": {"in": 41, "out": 41, "rejected": {}},
        }
    })  # fmt: skip
    assert trainings(config, plan, tmp_path)[0].rows == 85
    counted = {job.eval: (job.rows, job.known) for job in replies(config, plan, tmp_path)}
    assert counted == {"d": (20, True), "far": (1000, False)}
    lengths = {"max": 300.0}
    write(tmp_path / f"tokens/{plan.run_tokens['a']}/stats.json", {
        "splits": {
            "train": {
                "in": 85, "out": 80, "dropped": {"overlong": 5}, "truncated": 2, "tokens": 9000,
                "lengths": lengths,
            }
        }
    })  # fmt: skip
    [known] = trainings(config, plan, tmp_path)
    assert (known.rows, known.tokens, known.steps, known.known) == (80, 9000, 10, True)
    assert known.needed < assumed.needed, "no row is as long as may be"
    text = overview(config, plan, tmp_path, ["a note"])
    assert "d, train: 5 of 90 records (5 no answer)" in text
    assert "training rows of a, train: 5 of 85 examples (5 overlong)" in text
    assert "2 are cut at max_length" in text and "  a note" in text


def write(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_of_a_hub_nothing_is_asked() -> None:
    models = {"m": {"id": "data/demo/model"}, "j": {"id": "org/j-8B"}}
    shown = experiment(models=models)
    assert known_here(shown, make_plan(shown)) == ["results/e/data/d/manifest.json"], "few-shot"
    config = experiment(models=models, evals={"d": {"task": "math", "dataset": "d"}})
    plan = make_plan(config)
    assert known_here(config, plan) == [
        "results/e/data/d/manifest.json",
        f"results/e/tokens/{plan.run_tokens['a']}/stats.json",
    ]
    assert known_here(experiment(), make_plan(experiment())) == ["results/e/data/d/manifest.json"]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_the_recipes_have_memory_and_time_for_each_kind_of_gpu(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU, a hub or their data."""
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(file.read_text())
    for spec in config["datasets"].values():
        sources = spec["source"] if isinstance(spec["source"], dict) else {"": spec["source"]}
        for split, source in sources.items():
            if not split and not source.startswith(("hub:", "http")):
                spec["source"] = "hub:org/other"
            elif not source.startswith(("hub:", "http")):
                spec["source"][split] = "hub:org/other"
        if spec.get("catalogue"):
            spec["catalogue"]["source"] = "hub:org/other"
    recipe = with_test_splits(load_experiment(config, []))
    text = overview(recipe, make_plan(recipe), tmp_path, [])
    lines = text.splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("on one GPU")) :]
    for kind in KINDS:
        assert f"{kind.gigabytes} GB ({kind.such_as})" in table[0]
    assert any(line.startswith("train ") and " GB " in line for line in table)
    assert all(" min" in line or " h" in line or "too small" in line or "a minute" in line
               for line in table[1:3])  # fmt: skip
    assert max(map(len, lines)) <= 110
    if file.stem == "gsm_symbolic_best_of_n":
        told = " ".join(text.split())
        assert "on 48 GB train gemma_4b_preset_full would fit with" in told
        assert "method: lora (10 GB)" in told
