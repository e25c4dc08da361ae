"""Masks, held against what the template prints, under templates of several styles."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from snaketune.prompts.conversation import render_chat
from snaketune.prompts.form import Form, opening, opening_tokens
from snaketune.prompts.rows import IGNORED, RowError, build_row
from snaketune.prompts.tokenise import truncate_row

CHATML = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# As Llama 3 has it: the template prints the first token of the text itself, and trims.
LLAMA = """{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|sep|>

{{ m.content | trim }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|sep|>

{% endif %}"""

# As Gemma has it: no system role, and the assistant is called model.
GEMMA = """{{ bos_token }}{% if messages[0].role == 'system' %}\
{% set first = messages[0].content + '\n\n' %}{% set loop_messages = messages[1:] %}{% else %}\
{% set first = '' %}{% set loop_messages = messages %}{% endif %}\
{% for m in loop_messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate') }}{% endif %}<start_of_turn>\
{{ 'model' if m.role == 'assistant' else m.role }}
{{ (first if loop.first else '') + m.content | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

# As Qwen 3 has it: thoughts of earlier replies are dropped, the last reply always has some.
THINKING = """{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}\
{% set ns.last = loop.index0 %}{% endif %}{% endfor %}\
{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% set said = m.content.split('</think>')[-1].lstrip('\n') %}\
{% set thought = '' %}{% if '</think>' in m.content %}\
{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') %}{% endif %}\
{% if loop.index0 > ns.last %}<think>
{{ thought }}
</think>

{{ said }}{% else %}{{ said }}{% endif %}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|start|>", "<|sep|>", "<|eot|>", "<bos>", "<start_of_turn>",
    "<end_of_turn>", "<unk>",
]  # fmt: skip

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
ANSWER = "2 + 2 is\n\nfour. #### 4"
TEMPLATES = {
    "chatml": (CHATML, "<|im_end|>"),
    "llama": (LLAMA, "<|eot|>"),
    "gemma": (GEMMA, "<end_of_turn>"),
    "thinking": (THINKING, "<|im_end|>"),
}


def make_tokenizer(template, merges=(), special=()):
    """Byte-level, one token a byte, but for `merges` and the special tokens; `special`: others than
    usual, of which the first ends a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    names = ["<bos>", *special] if special else SPECIAL
    end = special[0] if special else "<|im_end|>"
    inner.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in names])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<bos>",
        eos_token=end,
        pad_token=end,
        chat_template=template,
    )


def trained_spans(tokenizer, row):
    """The runs of trained tokens, decoded."""
    spans, run = [], []
    for label in [*row.labels, IGNORED]:
        if label != IGNORED:
            run.append(label)
        elif run:
            spans.append(tokenizer.decode(run))
            run = []
    return spans


def conversation(*replies):
    turns = [ASKED[0]]
    for reply in replies:
        turns += [ASKED[1], {"role": "assistant", "content": reply}]
    return turns


@pytest.mark.parametrize("style", ["chatml", "llama", "gemma"])
def test_the_reply_and_its_end_are_trained_and_nothing_else(style):
    template, end = TEMPLATES[style]
    tokenizer = make_tokenizer(template)
    row = build_row(tokenizer, conversation(ANSWER))
    assert trained_spans(tokenizer, row) == [ANSWER + end]
    pairs = zip(row.input_ids, row.labels, strict=True)
    assert all(label in (IGNORED, token) for token, label in pairs)


@pytest.mark.parametrize("style", ["chatml", "llama", "gemma"])
def test_every_reply_of_a_conversation_is_trained(style):
    template, end = TEMPLATES[style]
    tokenizer = make_tokenizer(template)
    row = build_row(tokenizer, conversation("It is 4.", "Still 4.", "4"))
    assert trained_spans(tokenizer, row) == [f"It is 4.{end}", f"Still 4.{end}", f"4{end}"]


@pytest.mark.parametrize("style", TEMPLATES)
def test_what_precedes_the_trained_tokens_is_the_prompt_of_inference(style):
    tokenizer = make_tokenizer(TEMPLATES[style][0])
    row = build_row(tokenizer, conversation(ANSWER))
    opened = opening(tokenizer, conversation(ANSWER)[:-1], Form("open_qa"))
    [asked] = opening_tokens(tokenizer, [opened])
    text = render_chat(tokenizer, conversation(ANSWER)[:-1], reply_next=True)
    assert opened.text == text + ("<think>\n\n</think>\n\n" if style == "thinking" else "")
    assert row.input_ids[: len(asked)] == asked
    assert row.labels[: len(asked)] == [IGNORED] * len(asked)
    assert row.labels[len(asked)] != IGNORED


def test_a_text_opens_with_one_first_token():
    """The template prints it, and the tokenizer adds one to every text that is not yet special."""
    tokenizer = make_tokenizer(LLAMA)
    first = ("<bos>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[first]
    )
    assert tokenizer("<bos>x")["input_ids"].count(tokenizer.bos_token_id) == 2
    row = build_row(tokenizer, conversation(ANSWER))
    assert row.input_ids.count(tokenizer.bos_token_id) == 1


def test_the_end_of_turn_is_learned_although_it_is_the_padding_token_too():
    tokenizer = make_tokenizer(CHATML)
    row = build_row(tokenizer, conversation("4"))
    assert tokenizer.pad_token_id in row.labels


def test_an_empty_thought_that_the_template_adds_belongs_to_the_prompt():
    tokenizer = make_tokenizer(THINKING)
    row = build_row(tokenizer, conversation("4"))
    assert trained_spans(tokenizer, row) == ["4<|im_end|>"]
    assert tokenizer.decode(row.input_ids).endswith("<think>\n\n</think>\n\n4<|im_end|>\n")


def test_thoughts_of_the_last_reply_are_learned_and_dropped_ones_shift_nothing():
    tokenizer = make_tokenizer(THINKING)
    row = build_row(tokenizer, conversation("<think>two twos</think>4", "<think>hm</think>Yes: 4"))
    assert "two twos" not in tokenizer.decode(row.input_ids)
    assert trained_spans(tokenizer, row) == ["<think>\nhm\n</think>\n\nYes: 4<|im_end|>"]


def test_an_earlier_reply_that_is_printed_whole_is_trained_beside_a_thinking_one():
    tokenizer = make_tokenizer(THINKING)
    row = build_row(tokenizer, conversation("4", "<think>hm</think>Yes"))
    spans = ["4<|im_end|>", "<think>\nhm\n</think>\n\nYes<|im_end|>"]
    assert trained_spans(tokenizer, row) == spans


def test_tokens_that_merge_inside_prompt_and_reply_shift_no_mask():
    # The reply starts with the line end of a token that also closes the header.
    tokenizer = make_tokenizer(CHATML, merges=[("Ċ", "Ċ"), ("t", "Ċ")])
    row = build_row(tokenizer, conversation(ANSWER))
    assert trained_spans(tokenizer, row) == [ANSWER + "<|im_end|>"]


def test_a_token_that_would_span_the_join_is_two_as_when_it_is_asked():
    tokenizer = make_tokenizer(CHATML, merges=[("Ċ", "4")])
    [asked] = opening_tokens(
        tokenizer, [opening(tokenizer, conversation("4")[:-1], Form("open_qa"))]
    )
    row = build_row(tokenizer, conversation("4"))
    assert row.input_ids[: len(asked)] == asked
    assert trained_spans(tokenizer, row) == ["4<|im_end|>"]


def test_a_template_without_an_end_of_turn_is_rejected():
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(RowError, match="no end-of-turn token"):
        build_row(make_tokenizer(plain), conversation("4"))


def test_the_next_turns_opening_is_no_end_of_turn():
    turns = "{% for m in messages %}<|start|>{{ m.content }}{% endfor %}"
    odd = turns + "{% if add_generation_prompt %}<|start|>{% else %}<|eot|>{% endif %}"
    with pytest.raises(RowError, match="different tokens"):
        build_row(make_tokenizer(odd), conversation("4", "5"))


def test_a_template_that_rewrites_replies_is_rejected():
    shouting = CHATML.replace("{{ m.content }}", "{{ m.content | upper }}")
    with pytest.raises(RowError, match="as it was written"):
        build_row(make_tokenizer(shouting), conversation("four"))


def test_a_reply_that_the_tokens_cannot_write_is_rejected():
    class Forgetful(PreTrainedTokenizerFast):
        def decode(self, *args, **kwargs):
            return super().decode(*args, **kwargs).replace("four", "for")

    tokenizer = make_tokenizer(CHATML)
    tokenizer.__class__ = Forgetful
    with pytest.raises(RowError, match="decode to"):
        build_row(tokenizer, conversation("four"))


@pytest.mark.parametrize("turns", [ASKED, conversation("  \n")])
def test_a_conversation_without_a_reply_is_rejected(turns):
    with pytest.raises(RowError, match="reply"):
        build_row(make_tokenizer(CHATML), turns)


def test_a_cut_row_keeps_its_mask_in_place():
    tokenizer = make_tokenizer(CHATML)
    row = build_row(tokenizer, conversation(ANSWER))
    short = truncate_row(row, len(row.input_ids) - 5)
    assert short.input_ids == row.input_ids[:-5]
    assert short.labels == row.labels[:-5]
    assert ANSWER.startswith(trained_spans(tokenizer, short)[0])


def test_a_cut_that_leaves_nothing_to_learn_is_refused():
    tokenizer = make_tokenizer(CHATML)
    row = build_row(tokenizer, conversation(ANSWER))
    first = next(i for i, label in enumerate(row.labels) if label != IGNORED)
    assert truncate_row(row, first + 1).trained_tokens == 1
    with pytest.raises(RowError, match="no reply token"):
        truncate_row(row, first)
