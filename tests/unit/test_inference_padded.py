"""Left-padded batches of models that the engine can't drive: exact, or not made."""

import sys
import time
from pathlib import Path

import pytest
import torch
from test_inference_decode import NEW, VOCABULARY, plain, some_prompts
from test_inference_options import alone, some_trees
from transformers.models.falcon_h1 import modeling_falcon_h1

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import make_model

from snaketune.inference.backends.transformers import TransformersSession
from snaketune.inference.decode import Prompt
from snaketune.inference.engine import UnsupportedError
from snaketune.inference.memory import BatchSize
from snaketune.inference.options import Tree, score_trees
from snaketune.inference.padded import PaddedModel, start_engine
from snaketune.inference.pick import Sampler, Sampling, greedy
from snaketune.inference.plain import PlainModel, in_batches, row_by_row
from snaketune.runtime.errors import UserError

ENDS, CPU = list(range(10)), torch.device("cpu")
NAMES = ["Falcon-H1", "Gemma 2", "Llama 4", "Qwen3-Next", "LFM2", "Mamba"]


def made(name, **changes):
    changes |= {"attention_chunk_size": 16} if name == "Llama 4" else {}
    return make_model(name, vocab_size=VOCABULARY, **changes)


def written(model, prompts, batch, pick=greedy, draws=False):
    asked = [
        Prompt(
            i,
            prompt,
            NEW,
            [0, 1] if draws else [0],
            {s: Sampling(1, 1, 7).numbers(f"{i}", s, NEW) for s in (0, 1)} if draws else None,
        )
        for i, prompt in enumerate(prompts)
    ]
    size = BatchSize(batch, CPU)
    replies = list(in_batches(model, asked, pick, ENDS, size))
    return {(r.index, r.sample): r.tokens for r in replies}, size


@pytest.mark.parametrize("name", NAMES)
def test_replies_and_options_are_those_of_each_alone(name):
    model, prompts = made(name), some_prompts(0, 7)
    padded = start_engine(model)
    assert isinstance(padded, PaddedModel) and padded.limit is None
    expected = plain(model, prompts)
    for batch in (3, "auto"):
        found, size = written(padded, prompts, batch)
        assert [found[i, 0] for i in range(7)] == expected
        assert max(size.used) == (3 if batch == 3 else 7)
    trees = [*some_trees(5), Tree([], [[20, 30], [21, 31, 32]], [1, 1])]
    scored = {s.index: s for s in score_trees(model, padded, trees)}
    for i, tree in enumerate(trees):
        assert scored[i].sums == pytest.approx(alone(model, tree), abs=1e-3)
        assert scored[i].tokens == tree.counts


def test_sampled_rows_are_those_of_each_alone():
    model, prompts = made("Falcon-H1"), some_prompts(0, 4)
    pick = Sampler(0.8, 0.9)
    found, _ = written(start_engine(model), prompts, 3, pick, draws=True)
    single, _ = written(PlainModel(model), prompts, 1, pick, draws=True)
    assert found == single and len(found) == 8


def leaking(kind):
    """Falcon-H1's layers as they were before transformers masked what pads: at all, or behind the
    convolution alone, whose bias then goes into the state."""
    own = modeling_falcon_h1.apply_mask_to_padding_states
    calls = []

    def half(states, mask):
        calls.append(0)
        return own(states, mask) if len(calls) % 2 else states

    return (lambda states, mask: states) if kind == "all" else half


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("all", torch.float32),
        ("all", torch.bfloat16),
        ("bias", torch.float32),  # in 16 bits it is less than rounding
        ("none", torch.float32),
        ("none", torch.bfloat16),
    ],
)
def test_padding_that_reaches_into_rows_is_noticed_in_16_bits_too(kind, dtype, monkeypatch, capsys):
    model = made("Falcon-H1").to(dtype)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mamba.conv1d.bias.fill_(0.5)
    if kind != "none":
        monkeypatch.setattr(modeling_falcon_h1, "apply_mask_to_padding_states", leaking(kind))
    assert (start_engine(model) is None) == (kind != "none")
    said = capsys.readouterr().err
    assert ("padded rows come out otherwise than alone" in said) == (kind != "none")
    assert ("goes in padded batches" in said) == (kind == "none")


def test_what_is_not_exact_in_batches_goes_row_by_row():
    grows = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    for name, changes, said in (
        ("RecurrentGemma", {}, "no cache"),
        ("MiniMax", {}, "come out otherwise than alone"),
        ("Gemma 2", {"rope_parameters": grows}, "the longest row"),
    ):
        with pytest.raises(UnsupportedError, match=said):
            PaddedModel(PlainModel(made(name, **changes)))


@pytest.mark.parametrize(("window", "limit"), [(23, None), (24, 24), (64, 64)])
def test_rows_beyond_a_window_that_was_not_tried_go_by_themselves(window, limit, capsys):
    model = made("Gemma 2", sliding_window=window)
    session = TransformersSession("tiny", None, ENDS, None, model)
    assert session.engine.limit == limit
    lengths = [4, 3, (limit or 30) - NEW, (limit or 30) - NEW + 1, 70]
    prompts = [some_prompts(80, 1, seed=i)[0][:n] for i, n in enumerate(lengths)]
    found = {r.index: r.tokens for r in session.replies(prompts, NEW, 8)}
    expected = plain(model, prompts)
    assert [found[i] for i in range(5)] == [[t for t in row if t not in ENDS] for row in expected]
    said = f"2 prompts may pass {limit} tokens with their replies, the model's window"
    assert (said in capsys.readouterr().out) == (limit is not None)
    about = session.describe()
    assert about["engine"] == "padded batches"
    assert about["largest_batch"] == (5 if limit is None else 3)
    trees = [Tree(prompt, [[20, 21], [22]], [0, 0]) for prompt in prompts]
    for scored in score_trees(model, session.engine, trees):
        assert scored.sums == pytest.approx(alone(model, trees[scored.index]), abs=1e-3)


def test_running_out_of_memory_halves_the_batch(monkeypatch):
    model, prompts = made("Falcon-H1"), some_prompts(0, 6)
    padded = start_engine(model)
    expected, _ = written(padded, prompts, 6)
    own, most = padded.go_on, 6

    def short(tokens, rows):
        if len(tokens) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(tokens, rows)

    monkeypatch.setattr(padded, "go_on", short)
    most = 2
    found, size = written(padded, prompts, 6)
    assert found == expected and size.now <= 3
    most = 0
    with pytest.raises(UserError, match="out of memory with a single row"):
        written(padded, prompts, 6)


def test_numbers_that_are_none_are_named_with_their_row():
    model = made("Falcon-H1")
    padded = start_engine(model)

    def broken(_, inputs, out):
        wrong = torch.zeros(len(out), 1, 1)
        wrong[-1] = torch.nan  # the shorter one, and each that is read alone
        return out + wrong

    model.model.layers[1].feed_forward.register_forward_hook(broken)
    with pytest.raises(UserError, match=r"prompt 2, token 1 of the reply: .*layers.1.feed_forward"):
        written(padded, [[20, 21, 22], [30, 31]], 2)
    with pytest.raises(UserError, match=r"a batch that begins with question 1: .*not finite"):
        list(score_trees(model, padded, [Tree([20, 21], [[22], [23]], [0, 0])]))


@pytest.mark.parametrize("name", ["Mamba", "Jamba"])
def test_states_in_16_bits_go_in_batches_too(name):
    assert isinstance(start_engine(made(name).bfloat16()), PaddedModel)


def test_long_options_go_a_question_at_a_time(monkeypatch):
    model = made("Gemma 2")
    padded, asked = start_engine(model), []
    own = padded.sums
    monkeypatch.setattr(
        padded, "sums", lambda trees, where: asked.append(trees) or own(trees, where)
    )
    trees = [Tree([20, 21], [[22] * n, [23]], [0, 0]) for n in (4, 5)]
    found = {s.index: s.sums for s in score_trees(model, padded, trees)}
    assert [[tree[1] for tree in group] for group in asked] == [[trees[0].branches]]
    for i, tree in enumerate(trees):
        assert found[i] == pytest.approx(alone(model, tree), abs=1e-3)


def test_a_row_s_memory_is_its_state_and_its_columns():
    padded = start_engine(made("Falcon-H1"))
    attention = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, numbers, bytes
    state = 2 * 8 * 8 * 8 * 4  # layers, heads, numbers, states, bytes
    assert padded.column_bytes == attention
    assert state < padded.state_bytes < 3 * state
    assert padded.row_bytes(100) == padded.state_bytes + 100 * attention
    assert start_engine(made("Mamba")).column_bytes == 0


def test_row_by_row_is_a_batch_of_one():
    model, prompts = made("Gemma 2"), some_prompts(0, 3)
    asked = [Prompt(i, prompt, NEW) for i, prompt in enumerate(prompts)]
    found = {r.index: r.tokens for r in row_by_row(model, asked, greedy, ENDS)}
    assert [found[i] for i in range(3)] == plain(model, prompts)


def seconds(reader, prompts, batch):
    asked = [Prompt(i, prompt, 32) for i, prompt in enumerate(prompts)]
    start = time.perf_counter()
    replies = list(in_batches(reader, asked, greedy, [], BatchSize(batch, CPU)))
    assert sum(len(r.tokens) for r in replies) == 32 * len(prompts)
    return time.perf_counter() - start


@pytest.mark.long
@pytest.mark.parametrize("name", ["Falcon-H1", "Gemma 2"])
def test_they_are_faster_than_row_by_row(name):
    """32 prompts of 20 to 120 tokens, 32 new ones each; docs/models.md has the figures."""
    wide = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "head_dim": 64}
    mamba = {"mamba_d_ssm": 512, "mamba_n_heads": 8, "mamba_d_head": 64, "mamba_d_state": 64}
    model = made(name, **wide, **(mamba if name == "Falcon-H1" else {}))
    prompts = [some_prompts(20 + 3 * i, 1, seed=i)[0] for i in range(32)]
    padded, plain_model = start_engine(model), PlainModel(model)
    one, other = seconds(plain_model, prompts, 1), seconds(padded, prompts, "auto")
    labels = [label[:3] for label in some_prompts(0, 4, seed=7)]
    options = [Tree(prompt, labels, [0] * 4) for prompt in prompts]
    start = time.perf_counter()
    list(score_trees(model, None, options))
    third = time.perf_counter()
    list(score_trees(model, padded, options))
    tree_one, tree_other = third - start, time.perf_counter() - third
    print(
        f"{name}: replies {one:.1f} s row by row, {other:.1f} s padded ({one / other:.1f}x); "
        f"options {tree_one:.1f} s, {tree_other:.1f} s ({tree_one / tree_other:.1f}x)"
    )
    assert one > 2 * other
