"""vLLM itself, on a CPU, against this project's own engine in float32: the base, adapters, NF4,
a whole training, samples, and the workflow with replies and verdicts by it."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from journey import Journey
from project_copy import SHORT, copy_project
from real_models import pretrained, problems
from safetensors.torch import load_file, save_file

from snaketune.config.model import ModelSpec
from snaketune.inference.backends.vllm import open_vllm
from snaketune.inference.pick import Sampling
from snaketune.inference.session import LoadableState, open_session
from snaketune.models.content import ADAPTER
from snaketune.models.load import load_state

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data/demo/model"
CPU = torch.device("cpu")
NEW = 24
_TIE = 2e-3  # of a logit: sums in another order


@dataclass
class OnDemo(Journey):
    """A training of the demo's model, which has learned to speak and so has few near ties."""

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self.base, self.spec = DEMO, ModelSpec(id=str(DEMO))
        self.rows = tiny.make_rows(4, longest=24)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def trained(request, tmp_path) -> LoadableState:
    """A state of the demo's model by a method, or the base."""
    name = request.param
    if name == "base":
        return LoadableState(ModelSpec(id=str(DEMO)), "none", "none", [])
    if name == "base in NF4":
        return LoadableState(ModelSpec(id=str(DEMO)), "nf4", "none", [])
    journey = OnDemo("demo", name, tmp_path)
    journey._train()
    return state_of(journey)


def state_of(journey: Journey) -> LoadableState:
    quantisation = "nf4" if journey.method == "qlora" else "none"
    weights = "full" if journey.method == "full" else "adapter"
    return LoadableState(journey.spec, quantisation, weights, journey.files)


def prompts(tokenizer) -> list[list[int]]:
    lines = (ROOT / "data/demo/math/test.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["question"] for line in lines[:24]]
    return [tokenizer(text)["input_ids"] for text in texts]


@torch.no_grad()
def differing(state, asked, found, expected) -> list[str]:
    """Replies that part from the expected ones where no two tokens are tied."""
    model = load_state(state.model, state.quantisation, state.weights, state.files, CPU)
    wrong = []
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one == other:
            continue
        at = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if at is None:
            wrong.append(f"{i}: one ends before the other")
            continue
        logits = model(input_ids=torch.tensor([asked[i] + other[:at]])).logits[0, -1].float()
        gap = float(logits[other[at]] - logits[one[at]])
        if gap > _TIE:
            wrong.append(f"{i}: at token {at}, {gap:.2g} apart")
    return wrong


def greedy(session, asked) -> list[list[int]]:
    return [r.tokens for r in sorted(session.replies(asked, NEW, "auto"), key=lambda r: r.index)]


KINDS = ["base", "base in NF4", "lora", "qlora", "full"]


@pytest.mark.parametrize("trained", KINDS, indirect=True)
def test_it_answers_as_our_own_engine_does(trained):
    session, own = open_vllm(trained), open_session(trained)
    asked = prompts(own.tokenizer)
    found, expected = greedy(session, asked), greedy(own, asked)
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    print(f"{trained.weights}, {trained.quantisation}: {same} of {len(asked)} the same")
    assert not differing(trained, asked, found, expected)
    assert same >= len(asked) - 2
    about = session.describe()
    assert about["device"] == "cpu" and about["dtype"] == "float32"
    assert about["largest_batch"] == len(asked), "all at once"
    if trained.weights == "adapter":
        base = LoadableState(trained.model, trained.quantisation, "none", [])
        assert greedy(open_session(base), asked) != found, "training changed the text"


@pytest.mark.parametrize("trained", ["lora"], indirect=True)
def test_samples_are_the_same_whatever_is_asked_beside_them(trained):
    session, how = open_vllm(trained), Sampling(0.9, 0.95, 7)
    asked = prompts(session.tokenizer)[:6]
    names = [f"q{i}" for i in range(len(asked))]

    def drawn(order, samples):
        said = session.replies(
            [asked[i] for i in order], NEW, "auto", how, [samples] * len(order),
            [names[i] for i in order],
        )  # fmt: skip
        return {(order[r.index], r.sample): r.tokens for r in said}

    four = drawn(range(6), [0, 1, 2, 3])
    two = drawn([5, 3, 1], [1, 3])
    assert two == {key: four[key] for key in two}
    assert len({tuple(tokens) for tokens in four.values()}) > 12
    assert drawn(range(6), [0, 1, 2, 3]) == four


def test_an_adapter_that_is_not_served_is_noticed(tmp_path, monkeypatch):
    journey = OnDemo("demo", "lora", tmp_path)
    journey._train()
    state = state_of(journey)
    session = open_vllm(state)
    start = session.start

    def without(length):
        engine = start(length)
        add = engine.llm_engine.add_request
        ask = lambda *args, lora_request, **more: add(*args, **more)  # noqa: E731
        monkeypatch.setattr(engine.llm_engine, "add_request", ask)
        return engine

    session.start = without
    with pytest.raises(RuntimeError, match="as it does without"):
        greedy(session, prompts(session.tokenizer))

    # Before training it is the base, and no fault.
    weights = load_file(state.files[0])
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    for name in weights:
        if "lora_B" in name:
            weights[name] = torch.zeros_like(weights[name])
    save_file(weights, untrained / ADAPTER[1])
    (untrained / ADAPTER[0]).write_bytes((state.files[0].parent / ADAPTER[0]).read_bytes())
    as_base = LoadableState(state.model, "none", "adapter", [untrained / ADAPTER[1]])
    session = open_vllm(as_base)
    asked = prompts(session.tokenizer)[:8]
    base = open_session(LoadableState(state.model, "none", "none", []))
    assert greedy(session, asked) == greedy(base, asked)


def test_a_pretrained_model_in_its_own_words():
    spec = pretrained("instruct").model_copy(update={"dtype": "float32"})
    state = LoadableState(spec, "none", "none", [])
    session, own = open_vllm(state), open_session(state)
    questions = [row["question"] for row, _ in zip(problems(), range(12), strict=False)]
    asked = [
        own.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        for text in questions
    ]
    found, expected = greedy(session, asked), greedy(own, asked)
    print(f"{sum(a == b for a, b in zip(found, expected, strict=True))} of 12 the same")
    assert not differing(state, asked, found, expected)


CONFIG = {
    **SHORT,
    "experiment": "served",
    "evals": {
        "math": {"task": "math", "dataset": "problems", "sample": {"count": 8},
                 "max_new_tokens": 24, "shards": 2},
        "safety": {"task": "safety", "dataset": "prompts", "sample": {"count": 6},
                   "judge": {"model": "judge"}, "max_new_tokens": 12},
    },
    "runs": {"first": {"model": "tiny", "preset": "short", "train": "problems"}},
}  # fmt: skip


def test_the_workflow_with_replies_and_verdicts_by_it(tmp_path):
    project = copy_project(tmp_path / "project")
    said, compared = {}, {}
    for backend in ("transformers", "vllm"):
        config = json.loads(json.dumps(CONFIG)) | {"experiment": backend}
        for spec in config["evals"].values():
            spec["backend"] = backend
        config["evals"]["safety"]["judge"]["backend"] = backend
        (project.folder / f"{backend}.yaml").write_text(yaml.safe_dump(config))
        project.run("--configfile", f"{backend}.yaml")
        folder = project.folder / "results" / backend
        texts = []
        for state in ("base-tiny-nf4", "first"):
            for name in (f"predictions/{state}/math", f"predictions/{state}/safety",
                         f"verdicts/{state}/safety"):  # fmt: skip
                meta = json.loads((folder / f"{name}.meta.json").read_text())
                assert meta["backend"].startswith(backend), name
                lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
                texts += [(name, json.loads(line).get("output", line)) for line in lines]
        said[backend] = texts
        with (folder / "tables/comparisons.csv").open(newline="") as file:
            compared[backend] = {(row["eval"], row["metric"]) for row in csv.DictReader(file)}
        again = project.run("-n", "--configfile", f"{backend}.yaml")
        assert "Nothing to be done" in again
    ours, served = said.values()
    assert sum(a == b for a, b in zip(ours, served, strict=True)) >= len(ours) - 2, "near ties"
    assert compared["vllm"] == compared["transformers"]
