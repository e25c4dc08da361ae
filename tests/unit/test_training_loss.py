"""The fast loss, held against one row at a time through the plain model."""

import pytest
import tiny
import torch
from torch.nn import functional as F
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from snaketune.prompts.rows import IGNORED
from snaketune.training import loss as loss_module
from snaketune.training.batches import packed_batch, padded_batch
from snaketune.training.graphs import filled, shape_of
from snaketune.training.loss import SummedLoss


def plain_loss(model, row):
    """Summed loss of one row: all logits, shifted labels. The reference."""
    ids, labels = torch.tensor(row.input_ids)[None], torch.tensor(row.labels)[None]
    logits = model(ids).logits
    return F.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED, reduction="sum")


SHAPE = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "max_position_embeddings": 128,
}


def gemma():
    """Caps its logits, and has layers with a sliding window."""
    torch.manual_seed(3)
    config = Gemma2Config(
        **SHAPE,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=8,
        final_logit_softcapping=0.3,
    )
    return Gemma2ForCausalLM(config).eval()


def llama():
    torch.manual_seed(3)
    config = LlamaConfig(
        **SHAPE,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    return LlamaForCausalLM(config).eval()


def windowed():
    torch.manual_seed(3)
    config = MistralConfig(
        **SHAPE,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=6,
    )
    return MistralForCausalLM(config).eval()


MODELS = {
    "qwen": tiny.make_model,
    "tied": lambda: tiny.make_model(tie_word_embeddings=True),
    "llama": llama,
    "capped": gemma,
}


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def close(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [padded_batch, packed_batch])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_equal_those_of_one_row_at_a_time(name, build):
    model, rows = MODELS[name](), tiny.make_rows(5)
    expected = sum(plain_loss(model, row) for row in rows)
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()
    found = SummedLoss(model, padded_batch(rows[:1]))
    result = found(build(rows))
    result.backward()
    torch.testing.assert_close(result, expected.detach(), rtol=1e-5, atol=1e-4)
    close(gradients(model), wanted)


@pytest.mark.parametrize("build", [padded_batch, packed_batch])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_logits_equal_those_of_one_row_at_a_time(name, build):
    """At every place that is learned: of rows side by side, and end to end."""
    model, rows = MODELS[name](), tiny.make_rows(5)
    batch = build(rows)
    alone = [model(torch.tensor(row.input_ids)[None]).logits[0, :-1] for row in rows]
    learned = [torch.tensor(row.labels[1:] != IGNORED) for row in rows]
    expected = torch.cat([part[mask] for part, mask in zip(alone, learned, strict=True)])
    loss = SummedLoss(model, padded_batch(rows[:1]))
    found = {"whole": loss._logits(batch)}
    if loss.apart:
        found["apart"] = loss.head(loss._hidden(batch))
    for logits in found.values():
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


def test_a_model_that_caps_its_logits_is_called_whole():
    rows = tiny.make_rows(2)
    assert not SummedLoss(gemma(), padded_batch(rows)).apart
    assert SummedLoss(tiny.make_model(), padded_batch(rows)).apart


def test_chunks_of_logits_change_nothing(monkeypatch):
    model, rows = tiny.make_model(), tiny.make_rows(5)
    loss = SummedLoss(model, padded_batch(rows))
    chunks, linear = [], F.linear

    def counted(hidden, weight, bias=None):
        if weight is model.lm_head.weight:
            chunks.append(len(hidden))
        return linear(hidden, weight, bias)

    monkeypatch.setattr(loss_module.F, "linear", counted)
    whole = loss(padded_batch(rows))
    whole.backward()
    wanted = gradients(model)
    model.zero_grad()
    monkeypatch.setitem(loss_module.CHUNK_NUMBERS, "cpu", 7 * tiny.VOCABULARY)
    learned = sum(row.trained_tokens for row in rows)
    assert chunks == [learned]
    chunks.clear()
    parts = loss(padded_batch(rows))
    parts.backward()
    assert sum(chunks) == learned and max(chunks) == 7 and len(chunks) > 3
    torch.testing.assert_close(parts, whole)
    close(gradients(model), wanted)


def test_logits_exist_only_where_a_token_is_learned(monkeypatch):
    model, rows = gemma(), tiny.make_rows(4)
    loss = SummedLoss(model, padded_batch(rows))
    seen = []
    model.lm_head.register_forward_hook(lambda module, args, out: seen.append(out.numel()))
    loss(packed_batch(rows))
    learned = sum(row.trained_tokens for row in rows)
    assert seen == [learned * tiny.VOCABULARY]


def test_packed_rows_do_not_see_each_other():
    model, rows = tiny.make_model(), tiny.make_rows(3)
    loss = SummedLoss(model, padded_batch(rows))
    alone = loss(packed_batch(rows[1:2]))
    together = sum(loss(packed_batch(part)) for part in ([rows[0], rows[1]], [rows[2]]))
    apart = sum(plain_loss(model, row) for row in rows)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(alone, plain_loss(model, rows[1]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["qwen", "tied", "llama", "capped", "window"])
def test_a_packed_line_filled_up_to_a_shape_gives_the_same(name):
    """With the attention that knows where rows end; the model that caps its scores keeps its own.
    Filler has tokens, places and rows."""
    made = MODELS | {"window": windowed}
    model, rows = made[name](), tiny.make_rows(5)
    expected = sum(plain_loss(model, row) for row in rows)
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()
    loss = SummedLoss(model, padded_batch(rows[:1]))
    assert loss.packs(rows[0]) == (name != "capped")
    line = packed_batch(rows)
    more = filled(line)
    assert shape_of(more) == (512, 512, 16, 512)
    assert more.counted.sum() == len(line.places) and more.bounds[-1] == 512
    result = loss(more)
    result.backward()
    torch.testing.assert_close(result, expected.detach(), rtol=1e-5, atol=1e-4)
    close(gradients(model), wanted)


def test_what_pads_hold_is_of_no_account():
    model, rows = tiny.make_model(), tiny.make_rows(4)
    loss, batch = SummedLoss(model, padded_batch(rows)), padded_batch(rows)
    filled = batch.input_ids.clone()
    for number, row in enumerate(rows):
        filled[number, row.inputs :] = 50
    other = type(batch)(filled, batch.places, batch.targets)
    assert torch.equal(loss(batch), loss(other))


def test_trying_the_model_leaves_it_in_training_mode():
    model = tiny.make_model().train()
    SummedLoss(model, padded_batch(tiny.make_rows(1)))
    assert model.training and model.model.layers[0].training
