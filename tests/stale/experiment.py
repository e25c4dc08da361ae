"""A small experiment that has one of each thing, made of the demo's models and data.

Everything in it is as small as it can be: what runs again, and not how well anything does, is what
its tests are about.
"""

import copy
import csv
import json
import shutil
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from project_copy import Project, copy_project

Config = dict[str, Any]

R = Path("results/stale")
DATA = Path("data/stale")
FILE = Path("config/stale.yaml")

CONFIG: Config = yaml.safe_load("""
experiment: stale

models:
  tiny: {id: data/demo/model}
  other: {id: data/demo/checker}
  judge: {id: data/demo/judge}
  reward: {id: data/demo/reward}

datasets:
  # A folder with a file a split; dev is held out of train.
  problems: {source: data/stale/problems, format: gsm8k, dev: 6}
  prompts: {source: data/stale/prompts.csv, format: ailuminate}
  # A source by split.
  reading:
    source: {train: data/stale/reading_train.jsonl, test: data/stale/reading_test.jsonl}
    format: dolly
    few_shot: {count: 0}
  # Splits drawn from one file.
  quiz:
    source: data/stale/quiz.csv
    format: table
    columns:
      {question: question, context: story, choices: [A, B, C, D], answer: right, answer_is: letter}
    draw: {test: 6, train: 4}
    few_shot: {count: 0}
  # Classes, and a catalogue that says more about the records.
  solutions:
    source: {test: data/stale/solutions.csv}
    format: table
    columns: {question: question, label: label, keep: [number]}
    labels: [right, wrong]
    catalogue: {source: data/stale/catalogue.csv, join_on: [number], columns: [kind]}
    few_shot: {count: 0}

presets:
  quantised: {method: qlora, max_steps: 2, batch_size: 4, max_length: 256, lora: {r: 4, alpha: 8}}
  plain: {method: lora, max_steps: 2, batch_size: 4, max_length: 256, lora: {r: 4, alpha: 8}}
  whole: {method: full, max_steps: 2, batch_size: 4, max_length: 256, eval_per_epoch: 0}

evals:
  math: {task: math, dataset: problems, few_shot: 2, max_new_tokens: 6}
  safety: {task: safety, dataset: prompts, judge: judge, max_new_tokens: 6}
  answers: {task: open_qa, dataset: reading, max_new_tokens: 6}
  quiz: {task: multiple_choice, dataset: quiz}
  samples:
    task: math
    dataset: problems
    sample: {count: 4, seed: 1}
    max_new_tokens: 6
    sampling: {samples: 4, at: [1, 2], reward: reward}
  solutions: {task: classification, dataset: solutions, classes: {by: kind}}

runs:
  low:
    model: tiny
    preset: quantised
    train: problems
    evals: {math: false, answers: false, quiz: false, samples: false, solutions: false}
  picked:
    model: tiny
    preset: plain
    train: problems
    snapshots: 2
    choose: math.accuracy
    accept: [prompt]
    evals: {safety: false, answers: false, quiz: false, samples: false, solutions: false}
  whole:
    model: other
    preset: whole
    train: reading
    evals: {math: false, safety: false, quiz: false, samples: false}
  borrowed:
    model: tiny
    adapter: data/stale/adapter
    evals: {math: false, safety: false, answers: false, solutions: false}
  given:
    model: other
    predictions: {answers: data/stale/answers.jsonl}
""")


def config_of(*runs: str) -> Config:
    """The experiment's config, or with these runs alone and what they name."""
    config = copy.deepcopy(CONFIG)
    if not runs:
        return config
    config["runs"] = {name: config["runs"][name] for name in runs}
    return pruned(config)


def pruned(config: Config) -> Config:
    """Without what no run names: the rest of the sections plays no part in these runs."""
    runs = config["runs"].values()
    asked = {name for name in config["evals"] if any(_has(run, name) for run in runs)}
    evals = {k: v for k, v in config["evals"].items() if k in asked}
    helpers = {e.get("judge") for e in evals.values()}
    helpers |= {e.get("sampling", {}).get("reward") for e in evals.values()}
    models = {run.get("model") for run in runs} | helpers
    datasets = {e["dataset"] for e in evals.values()} | {run.get("train") for run in runs}
    presets = {run.get("preset") for run in runs}
    config["evals"] = evals
    for section, kept in (("models", models), ("datasets", datasets), ("presets", presets)):
        config[section] = {k: v for k, v in config[section].items() if k in kept}
    for run in runs:
        run["evals"] = {k: v for k, v in run.get("evals", {}).items() if k in asked}
    return config


def _has(run: Config, name: str) -> bool:
    """Whether a run has an eval."""
    return name in run.get("predictions", [name]) and run.get("evals", {}).get(name) is not False


def new_project(folder: Path) -> Project:
    """A copy of the project with the experiment's data and no results."""
    project = copy_project(folder)
    write_data(folder)
    return project


def write_config(project: Project, config: Config) -> None:
    (project.folder / FILE).write_text(yaml.safe_dump(config, sort_keys=False))


def write_data(folder: Path) -> None:
    """Some rows of the demo's data."""
    data, demo = folder / DATA, folder / "data/demo"
    (data / "problems").mkdir(parents=True)
    _some_lines(demo / "math/train.jsonl", data / "problems/train.jsonl", 40)
    _some_lines(demo / "math/test.jsonl", data / "problems/test.jsonl", 6)
    _some_lines(demo / "safety/prompts.csv", data / "prompts.csv", 1 + 4)
    _some_lines(demo / "reading/train.jsonl", data / "reading_train.jsonl", 24)
    _some_lines(demo / "reading/test.jsonl", data / "reading_test.jsonl", 6)
    _some_lines(demo / "reading/quiz.csv", data / "quiz.csv", 1 + 10)
    answers = ({"id": f"reading-test-{i:05d}", "output": str(i)} for i in range(1, 7))
    (data / "answers.jsonl").write_text("".join(f"{json.dumps(a)}\n" for a in answers))
    solutions, kinds = [("number", "question", "label")], [("number", "kind")]
    for i in range(8):
        off = i % 2
        solutions.append((i, f"{i} + {i % 7} = {i + i % 7 + off}", "wrong" if off else "right"))
        kinds.append((i, "off by one" if off else "none"))
    _write_csv(data / "solutions.csv", solutions)
    _write_csv(data / "catalogue.csv", kinds)
    write_adapter(demo / "model", data / "adapter")


def _some_lines(source: Path, target: Path, count: int) -> None:
    with source.open() as file:
        target.write_text("".join(islice(file, count)))


def _write_csv(file: Path, rows: Iterable[tuple]) -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def write_adapter(model: Path, folder: Path) -> None:
    """An adapter in PEFT's format whose weights follow from their shapes alone."""
    import numpy as np
    from safetensors.numpy import save_file

    shape = json.loads((model / "config.json").read_text())
    width = shape["hidden_size"]
    numbers = np.random.default_rng(0)
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        for part, size in (("A", (2, width)), ("B", (width, 2))):
            values = numbers.standard_normal(size).astype(np.float32)
            tensors[f"{name}.lora_{part}.weight"] = values / 8
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4,
        "lora_dropout": 0.0, "target_modules": ["q_proj"], "bias": "none",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def copied(project: Project, folder: Path) -> Project:
    """The project with all of its results, to be changed apart. File times stay as they are."""
    shutil.copytree(project.folder, folder, symlinks=True)
    return Project(folder)
