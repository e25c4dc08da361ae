"""The generation loop against plain `generate`, a row at a time (traps 20 to 23)."""

import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_chat import make_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
)

from snaketune.inference import decode
from snaketune.inference.decode import Decoder, Prompt
from snaketune.inference.engine import Engine, UnsupportedError, common_prefix
from snaketune.inference.memory import BatchSize, close_gaps
from snaketune.inference.padded import PaddedModel, start_engine
from snaketune.inference.pick import Sampler, Sampling, greedy
from snaketune.inference.plain import row_by_row
from snaketune.runtime.errors import UserError

VOCABULARY, ENDS, NEW = 200, list(range(10)), 20
CPU = torch.device("cpu")


def shape(**more):
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
    }
    return common | more


MODELS = {
    "qwen2": lambda: make_model(VOCABULARY),
    "mistral, window 16": lambda: MistralForCausalLM(MistralConfig(**shape(sliding_window=16))),
    "gemma3, window 16 in some layers": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **shape(head_dim=16, sliding_window=16, tie_word_embeddings=False),
            layer_types=["sliding_attention", "full_attention"],
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=48, n_layer=2, n_head=4, initializer_range=0.3)
    ),
    "qwen2 with an adapter": lambda: with_adapter(make_model(VOCABULARY)),
}


def with_adapter(model):
    """As a run trains one, with weights that make a difference."""
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return adapted


def made(name):
    torch.manual_seed(1)
    return MODELS[name]().eval()


def some_prompts(prefix, count=16, seed=1):
    rng = random.Random(seed)

    def tokens(length):
        return [rng.randrange(10, VOCABULARY) for _ in range(length)]

    shared = tokens(prefix)
    return [shared + tokens(rng.randint(2, 40)) for _ in range(count)]


def plain(model, prompts):
    """Row by row with the library's own `generate` and nothing but greedy in its config."""
    config = GenerationConfig(
        max_new_tokens=NEW, do_sample=False, eos_token_id=ENDS, pad_token_id=0
    )
    rows = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        rows.append(out[0, len(prompt) :].tolist())
    return rows


def ours(engine, prompts, batch, pick=greedy, samples=1, seed=None):
    cut = engine.share(common_prefix(prompts))
    asked = [
        Prompt(
            i,
            prompt[cut:],
            NEW,
            list(range(samples)),
            None
            if seed is None
            else {s: Sampling(1, 1, seed).numbers(f"id{i}", s, NEW) for s in range(samples)},
        )
        for i, prompt in enumerate(prompts)
    ]
    decoder = Decoder(engine, asked, pick, ENDS, BatchSize(batch, CPU))
    replies = {(r.index, r.sample): r.tokens for r in decoder.run()}
    assert len(replies) == len(prompts) * samples
    return replies, decoder


@pytest.mark.parametrize("prefix", [0, 40])
@pytest.mark.parametrize("name", MODELS)
def test_greedy_equals_plain_generate_whatever_the_batch(name, prefix):
    model, prompts = made(name), some_prompts(prefix)
    expected = plain(model, prompts)
    assert len({len(row) for row in expected}) > 1, "no reply ended by itself: nothing is tested"
    engine = Engine(model)
    for batch in (1, 5, "auto"):
        replies, _ = ours(engine, prompts, batch)
        assert [replies[i, 0] for i in range(len(prompts))] == expected
        assert engine.prefix_length == (40 if prefix else 0)


def test_the_models_own_generation_config_does_not_leak():
    model, prompts = made("qwen2"), some_prompts(0, 6)
    expected = plain(model, prompts)
    model.generation_config = GenerationConfig(repetition_penalty=1.8, do_sample=True, top_k=3)
    assert plain_with_own_config(model, prompts) != expected, "the penalty changes nothing here"
    replies, _ = ours(Engine(model), prompts, 4)
    assert [replies[i, 0] for i in range(6)] == expected


def plain_with_own_config(model, prompts):
    torch.manual_seed(0)
    rows = [
        model.generate(torch.tensor([p]), max_new_tokens=NEW, eos_token_id=ENDS, pad_token_id=0)
        for p in prompts
    ]
    return [row[0, len(p) :].tolist() for row, p in zip(rows, prompts, strict=True)]


def test_row_by_row_equals_the_engine():
    model, prompts = made("qwen2"), some_prompts(0, 6)
    asked = [Prompt(i, p, NEW) for i, p in enumerate(prompts)]
    single = {r.index: r.tokens for r in row_by_row(model, asked, greedy, ENDS)}
    replies, _ = ours(Engine(model), prompts, 4)
    assert [single[i] for i in range(6)] == [replies[i, 0] for i in range(6)]


def test_an_attention_that_the_engine_lacks_goes_in_padded_batches(capsys):
    model = Gemma2ForCausalLM(Gemma2Config(**shape(head_dim=16))).eval()
    before = model.config._attn_implementation
    with pytest.raises(UnsupportedError):
        Engine(model)
    assert isinstance(start_engine(model), PaddedModel)
    assert "goes in padded batches" in capsys.readouterr().err
    assert model.config._attn_implementation == before


def test_running_out_of_memory_halves_the_batch_and_changes_no_reply(monkeypatch):
    model, prompts = made("qwen2"), some_prompts(40)
    expected = plain(model, prompts)
    engine = Engine(model)
    forward, failures = engine.forward, iter([False] * 9 + [True] + [False] * 12 + [True])

    def short_of_memory(ids, cache):
        logits = forward(ids, cache)
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits

    cut = engine.share(common_prefix(prompts))
    monkeypatch.setattr(engine, "forward", short_of_memory)
    asked = [Prompt(i, prompt[cut:], NEW) for i, prompt in enumerate(prompts)]
    decoder = Decoder(engine, asked, greedy, ENDS, BatchSize(16, CPU))
    replies = {r.index: r.tokens for r in decoder.run()}
    assert [replies[i] for i in range(len(prompts))] == expected
    assert decoder.batch.now == 4
    assert decoder.cache.slots <= 4


def test_prompts_that_do_not_fit_side_by_side_are_read_in_fewer_and_the_batch_stays(monkeypatch):
    model, prompts = made("qwen2"), some_prompts(40)
    expected = plain(model, prompts)
    engine = Engine(model)
    prefill, read = engine.prefill, []

    def short_of_memory(group):
        read.append(len(group))
        if len(group) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(group)

    cut = engine.share(common_prefix(prompts))
    monkeypatch.setattr(engine, "prefill", short_of_memory)
    asked = [Prompt(i, prompt[cut:], NEW) for i, prompt in enumerate(prompts)]
    decoder = Decoder(engine, asked, greedy, ENDS, BatchSize(16, CPU))
    replies = {r.index: r.tokens for r in decoder.run()}
    assert [replies[i] for i in range(len(prompts))] == expected
    assert max(read) > 2 >= max(read[-4:])
    assert decoder.batch.now == 16


def test_a_long_prompt_is_read_in_parts(monkeypatch):
    """Rows of unlike lengths, some of which begin behind the first part."""
    model, prompts = made("mistral, window 16"), some_prompts(40)
    expected = plain(model, prompts)
    monkeypatch.setattr("snaketune.inference.engine.COLUMNS_AT_ONCE", 7)
    engine = Engine(model)
    for batch in (1, 4):
        replies, _ = ours(engine, prompts, batch)
        assert [replies[i, 0] for i in range(len(prompts))] == expected


def test_what_was_finished_before_memory_ran_out_is_not_lost(monkeypatch):
    """Replies of one token are finished in the prompt's pass; the step after it fails."""
    model, prompts = made("qwen2"), some_prompts(0)
    ends = [row[0] for row in plain(model, prompts)[::2]]
    engine = Engine(model)
    expected = {}
    for reply in row_by_row(
        made("qwen2"), [Prompt(i, p, NEW) for i, p in enumerate(prompts)], greedy, ends
    ):
        expected[reply.index] = reply.tokens
    assert any(len(tokens) == 1 for tokens in expected.values())
    step, failures = engine.step, iter([True, False, True])

    def short_of_memory(tokens, cache):
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(tokens, cache)

    monkeypatch.setattr(engine, "step", short_of_memory)
    asked = [Prompt(i, prompt, NEW) for i, prompt in enumerate(prompts)]
    decoder = Decoder(engine, asked, greedy, ends, BatchSize(16, CPU))
    assert {r.index: r.tokens for r in decoder.run()} == expected


def test_a_row_that_never_fits_is_the_users_to_solve(monkeypatch):
    engine = Engine(made("qwen2"))

    def too_much(ids, cache):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "forward", too_much)
    decoder = Decoder(engine, [Prompt(0, [1, 2], 3)], greedy, ENDS, BatchSize("auto", CPU))
    with pytest.raises(UserError, match="out of memory with a single row"):
        list(decoder.run())


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch):
    engine = Engine(made("qwen2"))

    def broken(ids, cache):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(engine, "forward", broken)
    decoder = Decoder(engine, [Prompt(0, [1, 2], 3)], greedy, ENDS, BatchSize(4, CPU))
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(decoder.run())


def test_the_batch_grows_while_memory_allows_and_stays_below_what_failed(monkeypatch):
    monkeypatch.setattr("snaketune.inference.memory.free_bytes", lambda device: 10_000)
    size = BatchSize("auto", CPU)
    size.grow(row_bytes=10)
    assert size.now == 128
    size.grow(row_bytes=100)
    assert size.now == 128, "128 rows more would take 12,800 bytes"
    assert size.halve()
    size.grow(row_bytes=0)
    assert size.now == 64
    fixed = BatchSize(3, CPU)
    fixed.start(row_bytes=10_000)
    fixed.grow(row_bytes=0)
    assert fixed.now == 3


def test_the_first_batch_is_no_larger_than_memory_allows(monkeypatch):
    """A row counts with all the tokens that it may come to have."""
    engine, prompts = Engine(made("qwen2")), some_prompts(0)
    assert engine.column_bytes == 2 * 2 * 2 * 16 * 4, "keys and values, layers, heads, size, bytes"
    longest = max(map(len, prompts)) + NEW
    free = 2 * 3 * longest * engine.column_bytes  # the CPU's half of it is for three rows
    monkeypatch.setattr("snaketune.inference.memory.free_bytes", lambda device: free)
    replies, decoder = ours(engine, prompts, "auto")
    assert min(decoder.batch.used) == 3
    assert [replies[i, 0] for i in range(len(prompts))] == plain(made("qwen2"), prompts)


def test_prompts_are_computed_in_passes_of_bounded_size(monkeypatch):
    monkeypatch.setitem(decode._TOKENS_AT_ONCE, "cpu", 64)
    engine, widths = Engine(made("qwen2")), []
    forward = engine.forward
    monkeypatch.setattr(
        engine, "forward", lambda ids, cache: widths.append(ids.shape) or forward(ids, cache)
    )
    prompts = some_prompts(0)
    ours(engine, prompts, 20)
    prefills = [s for s in widths if s[1] > 1]
    assert sum(s[0] for s in prefills) == len(prompts)
    assert all(s[0] == 1 or s[0] * s[1] <= 64 for s in prefills)


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_samples_depend_on_seed_id_and_number_alone(top_p):
    engine, prompts = Engine(made("qwen2")), some_prompts(40, 8)
    pick = Sampler(0.8, top_p)
    eight, _ = ours(engine, prompts, 64, pick, samples=8, seed=5)
    four, _ = ours(engine, prompts, 3, pick, samples=4, seed=5)
    assert {key: eight[key] for key in four} == four
    other, _ = ours(engine, prompts, 64, pick, samples=4, seed=6)
    assert other != four
    assert len({tuple(eight[0, s]) for s in range(8)}) > 4


def test_sampled_rows_equal_row_by_row():
    model, prompts = made("qwen2"), some_prompts(0, 4)
    pick = Sampler(0.8, 0.9)
    asked = [
        Prompt(i, p, NEW, [0, 1], {s: Sampling(1, 1, 5).numbers(f"id{i}", s, NEW) for s in (0, 1)})
        for i, p in enumerate(prompts)
    ]
    single = {(r.index, r.sample): r.tokens for r in row_by_row(model, asked, pick, ENDS)}
    batched, _ = ours(Engine(model), prompts, 8, pick, samples=2, seed=5)
    assert single == batched


def test_sampling_frequencies_follow_the_nucleus():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -9.0]])
    numbers = Sampling(1, 1, 0).numbers("x", 0, 4000)
    picks = torch.cat([Sampler(1.0, 0.9)(logits, [u]) for u in numbers])
    shares = torch.bincount(picks, minlength=5) / len(picks)
    inside = logits[0, :3].softmax(-1)  # 0.64, 0.24, 0.09: three are needed for 0.9
    assert torch.allclose(shares[:3], inside, atol=0.03)
    assert shares[3:].sum() == 0


def test_many_likely_tokens_are_sorted_in_full():
    flat = torch.zeros(1, 2000)
    picks = {int(Sampler(1.0, 0.95)(flat, [u])) for u in Sampling(1, 1, 0).numbers("x", 0, 1500)}
    assert max(picks) > 1000 and len(picks) > 700


def in_full(row, draw, temperature=0.7, top_p=0.95):
    """Nucleus sampling of one row [V] from a sort of all its tokens."""
    shares = (row.double() / temperature).softmax(-1)
    order = sorted(range(len(row)), key=lambda i: (-float(row[i]), i))
    nucleus, mass = [], 0.0
    for i in order:
        if mass >= top_p:
            break
        nucleus.append(i)
        mass += float(shares[i])
    at = draw * mass
    for i in nucleus:
        at -= float(shares[i])
        if at < 0:
            return i
    return nucleus[-1]


@pytest.mark.parametrize("spread", [1, 2, 4, 8])
def test_a_sample_does_not_depend_on_the_rows_beside_it(spread):
    """Ties as 16 bits make them, and a flat row, which needs all of the vocabulary."""
    rows, size = 120, 3000
    logits = torch.randn(rows, size, generator=torch.Generator().manual_seed(spread)) * spread
    logits = logits.bfloat16()
    logits[::10] = 0
    draws = Sampling(1, 1, 0).numbers("x", 0, rows).tolist()
    pick = Sampler(0.7, 0.95)
    together = pick(logits, draws).tolist()
    alone = [int(pick(logits[i : i + 1], [draws[i]])) for i in range(rows)]
    beside = [
        int(pick(torch.stack([logits[i], logits[0]]), [draws[i], 0.5])[0]) for i in range(rows)
    ]
    assert together == alone == beside
    assert together == [in_full(logits[i], draws[i]) for i in range(rows)]


def test_close_gaps_moves_the_last_rows_and_no_others():
    assert close_gaps([0, 1, 2]) == [0, 1, 2]
    assert close_gaps([1, 3, 4]) == [4, 1, 3]
    assert close_gaps([]) == []


def test_common_prefix_leaves_each_prompt_a_token():
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == [1, 2]
    assert common_prefix([[1, 2], [1, 2, 4]]) == [1]
    assert common_prefix([[1, 2, 3]]) == [1, 2]
    assert common_prefix([[3], [4]]) == []
