"""llama.cpp as a model, against a stand-in that is one of transformers: `make test-gguf` has the
real one. What is wanted of which tokens is what these tests are about."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_chat import make_model, save_chat_model
from transformers import AutoModelForCausalLM

from snaketune.config.model import ModelSpec
from snaketune.inference.backends import llama_cpp as backend
from snaketune.inference.backends.llama_cpp import LlamaCppModel, open_llama_cpp
from snaketune.inference.backends.transformers import open_transformers
from snaketune.inference.options import Tree, score_trees
from snaketune.inference.pick import Sampling
from snaketune.inference.session import LoadableState
from snaketune.runtime.errors import UserError


class Engine:
    """Reads tokens as llama.cpp does: behind what it holds, up to its room."""

    reads: list[int]
    opened: list["Engine"]
    model = None
    tokenizer = None

    def __init__(self, file, n_ctx, n_batch, swa_full, **settings):
        assert swa_full, "a window's past can't be gone back to"
        self.room, self.batch = n_ctx, n_batch
        self.held: list[int] = []
        self.ctx = self
        self.metadata = {"general.file_type": "7"}
        Engine.opened.append(self)

    def close(self):
        self.closed = True

    def n_vocab(self):
        return self.model.config.vocab_size

    def tokenize(self, text, add_bos):
        return self.tokenizer(text.decode(), add_special_tokens=False)["input_ids"]

    def decode(self, batch):
        count = batch.n_tokens
        assert [batch.pos[i] for i in range(count)] == list(
            range(len(self.held), len(self.held) + count)
        )
        assert count <= self.batch and len(self.held) + count <= self.room
        self.held += [batch.token[i] for i in range(count)]
        Engine.reads.append(count)
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([self.held])).logits[0, -count:]
        self.logits = {i: logits[i].float().numpy() for i in range(count) if batch.logits[i]}
        return 0


def remove(engine, sequence, start, end):
    engine.held = engine.held[:start]
    return True


def make_batch(count, embeddings, sequences):
    names = ("token", "pos", "n_seq_id", "logits")
    return SimpleNamespace(
        **{name: [0] * count for name in names}, seq_id=[[0] for _ in range(count)]
    )


@pytest.fixture
def state(monkeypatch, tmp_path):
    module = ModuleType("llama_cpp")
    module.__spec__ = SimpleNamespace()
    members = {
        "Llama": Engine,
        "llama_get_memory": lambda engine: engine,
        "llama_memory_seq_rm": remove,
        "llama_memory_clear": lambda engine, data: engine.held.clear(),
        "llama_batch_init": make_batch,
        "llama_batch_free": lambda batch: None,
        "llama_decode": lambda engine, batch: engine.decode(batch),
        "llama_get_logits_ith": lambda engine, i: np.ctypeslib.as_ctypes(engine.logits[i]),
        "llama_supports_gpu_offload": lambda: False,
    }
    for name, member in members.items():
        setattr(module, name, member)
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    monkeypatch.setattr(backend, "version", lambda package: "0")
    folder = save_chat_model(tmp_path / "model")
    own = LoadableState(ModelSpec(id=str(folder)), "none", "none", [])
    Engine.plain = open_transformers(own)
    Engine.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    Engine.tokenizer = Engine.plain.tokenizer
    Engine.reads, Engine.opened = [], []
    return LoadableState(own.model, "none", "gguf", [tmp_path / "model-q8_0.gguf"])


@pytest.mark.parametrize("sampling", [None, Sampling(0.8, 0.9, 3)], ids=["greedy", "drawn"])
def test_replies_are_those_of_the_same_model(state, sampling):
    session = open_llama_cpp(state)
    prompts = [[5, 6, 7, 8], [5, 6, 9], [30] * 20]
    asked = {"samples": [[0, 1]] * 3, "ids": ["a", "b", "c"]} if sampling else {}
    found, plain = (
        {(r.index, r.sample): r for r in one.replies(prompts, 12, "auto", sampling, **asked)}
        for one in (session, Engine.plain)
    )
    assert found == plain and len(found) == 3 * (2 if sampling else 1)
    assert session.ends == Engine.plain.ends and session.context == Engine.plain.context
    assert session.describe()["dtype"] == "q8_0"
    assert Engine.reads[:2] == [20, 1], "the longest prompt once, then a token at a time"


def test_options_are_scored_as_by_the_same_model(state):
    session = open_llama_cpp(state)
    tree = Tree([5, 6, 7], [[8, 9], [8, 10, 11], [12]], [0, 0, 0])
    [found] = score_trees(session.model, session.engine, [tree])
    [plain] = score_trees(Engine.plain.model, Engine.plain.engine, [tree])
    assert np.allclose(found.sums, plain.sums, atol=1e-4) and found.tokens == plain.tokens


def test_what_rows_share_is_read_once_and_long_rows_get_room(state, monkeypatch):
    model = LlamaCppModel(state.files[0], make_model(320).config)
    one = torch.tensor([[5, 6, 7, 8]])
    assert model(one, logits_to_keep=1).logits.shape[:2] == (1, 1)
    again = model(torch.tensor([[5, 6, 9]]), logits_to_keep=1).logits
    assert Engine.reads == [4, 1] and model.read == [5, 6, 9]
    with torch.no_grad():
        assert torch.allclose(again[0, -1], Engine.model(torch.tensor([[5, 6, 9]])).logits[0, -1])
    assert model(one, logits_to_keep=3).logits.shape[:2] == (1, 3), "read again, as far as wanted"
    assert Engine.reads == [4, 1, 3]
    assert model(one).logits.shape[:2] == (1, 4)
    monkeypatch.setattr(backend, "_BATCH", 8)
    monkeypatch.setattr(backend, "_FIRST_ROOM", 8)
    model = LlamaCppModel(state.files[0], make_model(320).config)
    long = torch.tensor([[3 + i % 40 for i in range(30)]])
    found = model(long, logits_to_keep=10).logits
    with torch.no_grad():
        assert torch.allclose(found[0], Engine.model(long).logits[0, -10:], atol=1e-4)
    first, second = Engine.opened[-2:]
    assert first.closed and (first.room, second.room) == (9, 38)


def test_other_tokens_are_told_and_so_is_what_is_missing(state, monkeypatch):
    monkeypatch.setattr(Engine, "tokenize", lambda self, text, add_bos: [1])
    with pytest.raises(UserError, match=r"q8_0.gguf: llama.cpp reads .The quick .* as \[1\]"):
        open_llama_cpp(state)
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"found no llama_cpp, .* envs/requirements-gguf.txt"):
        open_llama_cpp(state)
