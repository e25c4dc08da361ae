"""llama.cpp on what is exported of tuned models, against transformers on the merged model: logits,
greedy replies and options, family by family."""

import random

import pytest
import torch
from families import save_model
from journey import Journey
from llama_cpp import Llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from snaketune.inference.backends.llama_cpp import open_llama_cpp
from snaketune.inference.options import Tree, score_trees
from snaketune.inference.session import LoadableState
from snaketune.models.gguf import write_gguf
from snaketune.models.merge import agreement, write_merged

FAMILIES = {
    "Llama": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "Mistral": {"sliding_window": None},
    "Qwen2": {},
    "Qwen3": {"tie_word_embeddings": True},
    "Gemma 3": {},
}
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip
_OFF = {"f16": 6e-3, "bf16": 5e-2, "q8_0": 0.1}
"""Of the largest logit: activations too are rounded to the weights' kind where these are
multiplied, and these models' numbers are ten times as large as trained ones'."""


@pytest.fixture(params=FAMILIES)
def tuned(request, tmp_path, monkeypatch):
    """A state after a few steps of training, and its merged folder."""
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    journey = Journey(request.param, "lora", tmp_path, FAMILIES[request.param])
    journey._train()
    write_merged(journey.spec, "none", "adapter", journey.files, tmp_path / "merged")
    return journey


def rows(seed=4):
    rng = random.Random(seed)
    # Longer than the window of Gemma's, and than what is read at once of the shortest.
    return [[rng.randrange(6, 320) for _ in range(n)] for n in (1, 2, 17, 60, 120)]


@torch.no_grad()
def expected(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, [model(input_ids=torch.tensor([row])).logits[0] for row in rows()]


def exported(journey, kind):
    file = journey.folder / f"told-{kind}.gguf"
    write_gguf(journey.folder / "merged", kind, file, "told")
    return open_llama_cpp(LoadableState(journey.spec, "none", "gguf", [file]))


def far(found, wanted):
    return max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)
    )


def test_llama_cpp_computes_as_transformers_does(tuned):
    model, wanted = expected(tuned.folder / "merged")
    _, base = expected(tuned.base)
    assert far(base, wanted) > 0.1, "training changed something"
    for kind, most in _OFF.items():
        session = exported(tuned, kind)
        found = [session.model(torch.tensor([row])).logits[0] for row in rows()]
        off, alike = far(found, wanted), agreement(wanted, found)
        print(f"{tuned.name}, {kind}: off by {off:.2g}, the same token {100 * alike.same:.1f} %")
        assert off < most
        assert alike.kl < most / 4
    sampled_rows_and_options(exported(tuned, "f16"), model)


@torch.no_grad()
def sampled_rows_and_options(session, model):
    """In any order, rows that begin alike and others: what was read before changes nothing."""
    prompts = [row[:n] for row in rows()[2:] for n in (3, 12)]
    replies = {r.index: r.tokens for r in session.replies(prompts, 12, "auto")}
    same = 0
    for i, prompt in enumerate(prompts):
        out = model.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=session.ends,
            pad_token_id=0, attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        )[0, len(prompt) :].tolist()  # fmt: skip
        same += [t for t in out if t not in session.ends] == replies[i]
    assert same >= len(prompts) - 1, "near ties at most"
    tree = Tree(rows()[2], [[7, 8, 9], [7], [10, 11]], [0, 0, 0])
    [found] = score_trees(session.model, session.engine, [tree])
    for branch, value in zip(tree.branches, found.sums, strict=True):
        ids = torch.tensor([tree.stem + branch])
        gains = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        at = len(tree.stem)
        wanted = float(gains[at - 1 :].gather(1, ids[0, at:, None]).sum())
        assert value == pytest.approx(wanted, rel=0.01, abs=0.05)


@pytest.mark.parametrize("size", [8, 32])
def test_llama_3s_positions_are_computed(size, tmp_path):
    folder = save_model("Llama", tmp_path / "model", head_dim=size, rope_parameters=LLAMA_3)
    _, wanted = expected(folder)
    write_gguf(folder, "f16", tmp_path / "model.gguf", "tiny")
    llama = open_llama_cpp(state_of(folder, tmp_path / "model.gguf"))
    found = [llama.model(torch.tensor([row])).logits[0] for row in rows()]
    assert far(found, wanted) < _OFF["f16"]


def test_linear_positions_and_sliding_windows_are_computed(tmp_path):
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    models = {"linear": ("Llama", {"rope_parameters": rope})}
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    models["usual"] = ("Gemma 3", {"layer_types": kinds, "num_hidden_layers": 6})
    models["unusual"] = ("Gemma 3", {"layer_types": kinds[::-1], "num_hidden_layers": 6})
    for name, (family, changes) in models.items():
        folder = save_model(family, tmp_path / name, **changes)
        _, wanted = expected(folder)
        write_gguf(folder, "f16", tmp_path / f"{name}.gguf", "tiny")
        llama = open_llama_cpp(state_of(folder, tmp_path / f"{name}.gguf"))
        found = [llama.model(torch.tensor([row])).logits[0] for row in rows()]
        assert far(found, wanted) < 2 * _OFF["f16"], name


def state_of(folder, file):
    from snaketune.config.model import ModelSpec

    return LoadableState(ModelSpec(id=str(folder)), "none", "gguf", [file])


TEXTS = (
    "Hello there! I'm sure they'll say 'no', won't they?",
    "3 apples + 42 pears = 45 fruits; 1234567 (or 3.14159).",
    "   spaces,\ttabs\n\n\nand lines  \n",
    "Größe, naïve, Ελληνικά, русский, 日本語, 🚀🙂",
    'def f(x):\n    return {"a": [x, x**2]}  # done',
)


@pytest.mark.parametrize("name", ["demo", "REAL_MODEL_DIR", "REAL_BASE_MODEL_DIR"])
def test_text_is_the_same_tokens(name, tmp_path):
    """With the vocabulary alone, of small files that hold a layer's weights or all."""
    import os

    folder = os.environ.get(name, "") if name != "demo" else "data/demo/model"
    if not folder:
        pytest.skip(f"no pretrained model: {name} names no folder")
    from pathlib import Path

    write_gguf(Path(folder), "q8_0", tmp_path / "model.gguf", "m")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    llama = Llama(str(tmp_path / "model.gguf"), vocab_only=True, verbose=False)
    for text in TEXTS:
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert llama.tokenize(text.encode(), add_bos=False) == own, text
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": TEXTS[0]}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert llama.tokenize(text.encode(), add_bos=False, special=True) == own
        assert llama.metadata["tokenizer.chat_template"] == tokenizer.chat_template
