"""Chat templates of many kinds: what training teaches stands behind the very tokens that
generation, options and labels are asked with (traps 37 and 38)."""

import os
from pathlib import Path

import pytest
from model_templates import REAL
from test_rows import CHATML, THINKING, make_tokenizer, trained_spans

from snaketune.data.example import FEW_SHOT, Example
from snaketune.inference.generate import spoken
from snaketune.inference.options import build_tree
from snaketune.inference.score_options import OptionsProtocol, build_question
from snaketune.prompts.conversation import end_tokens, turn_closing_tokens, turn_end_token
from snaketune.prompts.form import (
    Form,
    Opening,
    opening_tokens,
    prompt_opening,
    template_thought_end,
)
from snaketune.prompts.rows import IGNORED, RowError
from snaketune.prompts.thoughts import closed_thought, split_thoughts
from snaketune.prompts.tokenise import training_row
from snaketune.report import findings
from snaketune.runtime.errors import UserError
from snaketune.tasks.task import Answered, task_of

ROOT = Path(__file__).parents[2]
EMPTY = "<think>\n\n</think>\n\n"
ASSISTANT = "<|im_start|>assistant\n"


def chatml(reply: str = "{{ m.content }}", asked: str = "", last_only: bool = False) -> str:
    """ChatML with `reply` for what an assistant's turn holds and `asked` behind the header."""
    when = "m.role == 'assistant'" + (" and loop.last" if last_only else "")
    return (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if " + when + " %}" + reply
        + "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        + "{% if add_generation_prompt %}<|im_start|>assistant\n" + asked + "{% endif %}"
    )  # fmt: skip


SWITCH = "{% if enable_thinking is defined and not enable_thinking %}" + EMPTY + "{% endif %}"
OPENED = (
    "{% if enable_thinking is defined and not enable_thinking %}" + EMPTY
    + "{% else %}<think>\n{% endif %}"
)  # fmt: skip
DROPS = "{{ m.content.split('</think>')[-1].lstrip() }}"
# System turn only in front of the last turn, if that is the user's (Mistral-7B-Instruct-v0.3).
SYSTEM_LAST = """{% if messages[0].role == 'system' %}{% set first = messages[0].content %}\
{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}{{ bos_token }}\
{% for m in turns %}{% if m.role == 'user' %}{% if loop.last and first is defined %}<|start|>\
{{ first + '\n\n' + m.content }}<|sep|>{% else %}<|start|>{{ m.content }}<|sep|>{% endif %}\
{% else %}{{ ' ' + m.content|trim }}<|im_end|>{% endif %}{% endfor %}"""
# The next turn's header ends a reply (GLM-4).
HEADER_ENDS = """<|sep|>{% for m in messages %}{% if m.role == 'user' %}<|start|>
{{ m.content }}{% elif m.role == 'assistant' %}<|eot|>
{{ m.content }}{% else %}<bos>
{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|eot|>{% endif %}"""
CHANNEL = chatml(reply="<|sep|>final<|eot|>{{ m.content }}")

# name → (template, what the prompt ends with)
KINDS = {
    "plain": (CHATML, ASSISTANT),
    "space": (chatml(reply="{{ ' ' + m.content }}"), ASSISTANT),
    "empty thought (Qwen3)": (chatml(EMPTY + "{{ m.content }}", SWITCH, True), ASSISTANT + EMPTY),
    "thoughts moved (Qwen3)": (THINKING, ASSISTANT + EMPTY),
    "opened, printed empty (Qwen3.5)": (
        chatml(EMPTY + DROPS, OPENED, True),
        ASSISTANT + EMPTY,
    ),
    "opened, not printed (R1-Distill)": (chatml(DROPS, "<think>\n"), ASSISTANT + EMPTY),
    "opened, no line end (OLMo-3-Think)": (chatml(DROPS, "<think>"), ASSISTANT + EMPTY),
    "closed in the prompt only (Gemma 4)": (chatml(asked=EMPTY), ASSISTANT + EMPTY),
    "channel (gpt-oss)": (CHANNEL, ASSISTANT + "<|sep|>final<|eot|>"),
    "system only with the last user turn": (SYSTEM_LAST, "What is 2 + 2?<|sep|>"),
    "header ends the reply (GLM-4)": (HEADER_ENDS, "<|eot|>\n"),
}
EVERY = [*KINDS, *(f"as {name} has it" for name in REAL)]


def known(kind, merges=()):
    """A tokenizer with a template of this kind, and what the prompt ends with."""
    if kind in KINDS:
        template, ends = KINDS[kind]
        return make_tokenizer(template, merges), ends
    template, ends, special, _ = REAL[kind.removeprefix("as ").removesuffix(" has it")]
    return make_tokenizer(template, merges, special), ends


LABELS = ["0", "1"]
EXAMPLES = [
    Example("1", "What is 2 + 2?", context="It is 5.", answer="1", label="1"),
    Example("2", "What is 2 + 2?", answer="It is\n\nfour.", choices=["It is\n\nfour.", "five"]),
]


# What can't be trained under, and what it says.
REFUSED = {
    "asks with another header than it prints": (
        CHATML.replace("<|im_start|>assistant\n", "<|start|>model\n"),
        "asks for a reply in one way and prints it in another",
    ),
    "no special token behind a reply or before the next turn": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        "no end-of-turn token follows the reply",
    ),
    "rewrites replies": (
        CHATML.replace("{{ m.content }}", "{{ m.content | upper }}"),
        "the chat template does not print the reply as it was written",
    ),
}


def split_row(row):
    first = next(i for i, label in enumerate(row.labels) if label != IGNORED)
    return row.input_ids[:first], [label for label in row.labels[first:] if label != IGNORED]


@pytest.mark.parametrize("prefix", ["", "So:"])
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("merges", [(), [("Ċ", "Ċ"), ("Ġ", "1"), ("Ċ", "1"), (":", "Ġ")]])
def test_what_is_trained_is_what_is_asked(kind, prefix, merges):
    asked_as_trained(*known(kind, merges), prefix)


def asked_as_trained(tokenizer, ends, prefix):
    """The prompt of training rows is the one that is sent, and `ends` so."""
    form = Form("classification", system="Be brief.", reply_prefix=prefix)
    for example in EXAMPLES:
        row = training_row(tokenizer, example, form)
        before, learned = split_row(row)
        found = prompt_opening(tokenizer, example, form, "m")
        [asked] = opening_tokens(tokenizer, [found])
        assert before == asked
        assert tokenizer.decode(learned).strip().startswith(example.answer)
        # The model learns to end where it is stopped, and learns nothing that the template prints.
        assert learned[-1] == turn_end_token(tokenizer)
        assert learned[-1] in end_tokens(tokenizer, [], "m")
        if not prefix and example.context is None:
            assert tokenizer.decode(before).endswith(ends)
        assert "Be brief." in tokenizer.decode(before)


@pytest.mark.parametrize("prefix", ["", "So:"])
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("merges", [(), [("Ċ", "Ċ"), ("Ġ", "1"), ("Ċ", "1")]])
def test_labels_and_options_are_scored_where_they_were_trained(kind, prefix, merges):
    scored_as_trained(known(kind, merges)[0], prefix)


def scored_as_trained(tokenizer, prefix):
    """The right label, or option, is the tokens that training taught, where it taught them."""
    form = Form("classification", system="Be brief.", reply_prefix=prefix)
    for example in EXAMPLES:
        before, learned = split_row(training_row(tokenizer, example, form))
        protocol = OptionsProtocol(
            "{question}",
            " {option}" if prefix else "{option}",
            system="Be brief.",
            labels=LABELS if example.label else [],
            reply_prefix=prefix,
        )
        tree = build_tree(tokenizer, build_question(example, protocol, tokenizer), plain=False)
        right = LABELS.index(example.label) if example.label else 0
        branch, start = tree.branches[right], tree.scored[right]
        assert tree.stem + branch[:start] == before
        assert [*branch[start:], *turn_closing_tokens(tokenizer)] == learned


@pytest.mark.parametrize(("case", "ends"), [("space", ASSISTANT), ("think", ASSISTANT + EMPTY)])
def test_the_templates_that_went_wrong(case, ends):
    cases = Path(os.environ.get("REAL_DATA_DIR", "nowhere")).parent / "cases"
    file = cases / f"chat_template_{case}.jinja"
    if not file.is_file():
        pytest.skip(f"found no {file}: REAL_DATA_DIR is unset, or has no cases beside it")
    for merges in ((), [("Ċ", "Ċ"), ("Ġ", "1"), ("Ċ", "1"), (":", "Ġ")]):
        tokenizer = make_tokenizer(file.read_text(encoding="utf-8"), merges)
        asked_as_trained(tokenizer, ends, "")
        scored_as_trained(tokenizer, "")


def test_an_open_answer_behind_what_the_template_prints_is_the_answer():
    """Whether the prompt has the empty thought, or the model writes it itself as it was taught."""
    tokenizer, _ = known("empty thought (Qwen3)")
    before = prompt_opening(tokenizer, EXAMPLES[0], Form("open_qa"), "m")
    assert before.text.endswith(EMPTY)
    for reply in ("1", f"{EMPTY}1"):
        found = spoken(tokenizer, tokenizer(reply, add_special_tokens=False)["input_ids"], before)
        prediction = {"id": "1", "finish": "stop", "new_tokens": 1, **found}
        example = Example("1", "What is 2 + 2?", gold="1")
        score = task_of("open_qa").score(Answered(example, prediction, None, {"answers": {}}))
        assert score["exact"] and score["f1"] == 1


def test_a_space_that_the_template_prints_is_read_with_the_first_token():
    """Most tokenizers have no token for it alone before a word: it can't stand in the prompt."""
    tokenizer = make_tokenizer(KINDS["space"][0], [("Ġ", "1")])
    row = training_row(tokenizer, EXAMPLES[0], Form("classification"))
    assert trained_spans(tokenizer, row) == [" 1<|im_end|>"]


def test_templates_that_print_nothing_before_a_reply_are_asked_as_ever():
    tokenizer = make_tokenizer(CHATML)
    turns = Form("open_qa").turns(EXAMPLES[1])
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert prompt_opening(tokenizer, EXAMPLES[1], Form("open_qa"), "m") == Opening(text)


def test_few_shot_turns_change_nothing_behind_the_question():
    shots = [{"question": "One?", "answer": "1"}]
    for kind in EVERY:
        tokenizer, ends = known(kind)
        found = prompt_opening(tokenizer, EXAMPLES[1], Form("open_qa"), "m", shots)
        assert found.text.endswith(ends)


THOUGHT = Example("3", "2 + 2?", answer="<think>\ntwo twos\n</think>\n\n4")
THINKERS = {
    "thoughts moved (Qwen3)": ASSISTANT,
    "opened, printed empty (Qwen3.5)": ASSISTANT + "<think>\n",
    "opened, not printed (R1-Distill)": ASSISTANT + "<think>\n",
    "opened, no line end (OLMo-3-Think)": ASSISTANT + "<think>",
}


@pytest.mark.parametrize("kind", THINKERS)
def test_thoughts_are_trained_where_they_are_asked_for(kind):
    tokenizer = make_tokenizer(KINDS[kind][0])
    form = Form("open_qa", thinking="on")
    before, learned = split_row(training_row(tokenizer, THOUGHT, form))
    [asked] = opening_tokens(tokenizer, [prompt_opening(tokenizer, THOUGHT, form, "m")])
    assert before == asked
    assert tokenizer.decode(before).endswith(THINKERS[kind])
    opened = THINKERS[kind].removeprefix(ASSISTANT)
    said = (opened + tokenizer.decode(learned)).replace("<think>two", "<think>\ntwo")
    assert said == THOUGHT.answer + "<|im_end|>"


def test_thinking_is_told_to_the_template():
    tokenizer = make_tokenizer(chatml(asked=SWITCH))
    off, on, unset = (
        prompt_opening(tokenizer, EXAMPLES[1], Form("open_qa", thinking=how), "m").text
        for how in ("off", "on", None)
    )
    assert off.endswith(EMPTY) and on.endswith(ASSISTANT) and unset == on
    arguments = {"enable_thinking": False}
    told = Form("open_qa", template_args=arguments)
    assert prompt_opening(tokenizer, EXAMPLES[1], told, "m").text == off


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_trained_under_is_refused_in_one_line(kind):
    template, says = REFUSED[kind]
    with pytest.raises((RowError, UserError)) as found:
        training_row(make_tokenizer(template), EXAMPLES[1], Form("open_qa"))
    assert says in str(found.value) and "\n" not in str(found.value)


def test_who_only_asks_is_asked_as_the_template_does():
    tokenizer = make_tokenizer(REFUSED["asks with another header than it prints"][0])
    asked = prompt_opening(tokenizer, EXAMPLES[1], Form("open_qa"), "m")
    assert asked.text.endswith("<|start|>model\n")


def test_the_documents_table_of_templates_is_this_files():
    rows = [f"| {kind} | right |" for kind in EVERY]
    rows += [f"| {kind} | refused: {says} |" for kind, (_, says) in REFUSED.items()]
    expected = "\n".join(["| template | |", "| --- | --- |", *rows])
    found = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    assert expected in found, f"expected in docs/models.md:\n{expected}"


@pytest.mark.parametrize(
    ("text", "opened", "thoughts", "answer"),
    [
        ("4", False, None, "4"),
        ("<think>\nhm\n</think>\n\n4", False, "<think>\nhm\n", "4"),
        ("hm\n</think>\n\n4", True, "hm\n", "4"),
        ("hm</think>4", False, "hm", "4"),
        ("hm", True, "hm", None),
        ("<think>hm", False, "<think>hm", None),
        ("<think>a</think>b</think>4", False, "<think>a</think>b", "4"),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>4",
            False,
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant",
            "4",
        ),
        ("<|channel|>analysis<|message|>hm", False, "<|channel|>analysis<|message|>hm", None),
        ("[THINK]hm[/THINK]4", False, "[THINK]hm", "4"),
        ("I <think> so", False, None, "I <think> so"),
        # One that is opened anew and not closed: nothing was answered yet.
        ("a</think><think>4", False, "a</think><think>4", None),
        ("4\n<think>no", False, "4\n<think>no", None),
        ("<seed:think>hm</seed:think>4", False, "<seed:think>hm", "4"),
        ("◁think▷hm◁/think▷4", False, "◁think▷hm", "4"),
        ("<|begin_of_thought|>hm<|end_of_thought|>\n4", False, "<|begin_of_thought|>hm", "4"),
        ("<|channel>thought\nhm<channel|>4", False, "<|channel>thought\nhm", "4"),
        ("<|channel>thought\nhm", False, "<|channel>thought\nhm", None),
        ("<|channel|>final<|message|>4", False, "", "4"),
    ],
)
def test_thoughts_are_cut(text, opened, thoughts, answer):
    assert split_thoughts(text, opened) == (thoughts, answer)


@pytest.mark.parametrize(
    ("opened", "empty"),
    [
        ("assistant\n<think>\n", "\n</think>\n\n"),
        ("assistant\n<think>", "\n\n</think>\n\n"),
        ("assistant\n[THINK]", "\n\n[/THINK]\n\n"),
        ("◁think▷", "\n\n◁/think▷\n\n"),
        ("<|turn>model\n<|channel>thought\n", "<channel|>"),
        (
            "<|start|>assistant<|channel|>analysis<|message|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
        ),
        ("<|start|>assistant<|channel|>final<|message|>", ""),
        ("assistant\n", ""),
    ],
)
def test_an_opened_thought_is_closed_empty(opened, empty):
    assert closed_thought(opened) == empty
    assert split_thoughts(empty + "4", opened=bool(empty)).answer == "4"


@pytest.mark.parametrize("name", REAL)
def test_what_closes_a_thought_is_asked_of_the_template(name):
    template, _, special, closes = REAL[name]
    tokenizer = make_tokenizer(template, special=special)
    form = Form("open_qa", thinking="on")
    if closes is not None:
        assert template_thought_end(tokenizer, form, "m") == closes
        return
    with pytest.raises(UserError, match="template that has none; expected") as found:
        template_thought_end(tokenizer, form, "m")
    assert "\n" not in str(found.value)


def test_a_reply_is_kept_in_its_parts():
    tokenizer = make_tokenizer(CHATML)
    before = Opening("<|im_start|>assistant\n<think>\n")

    def parts(text):
        return spoken(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"], before)

    found = parts("hm\n</think>\n\n4")
    assert (found["output"], found["thoughts"], found["thoughts_ended"]) == ("4", "hm\n", True)
    assert found["thought_tokens"] == 3
    assert parts("hm, so 4") == {
        "output": "",
        "thoughts": "hm, so 4",
        "thought_tokens": 8,
        "thoughts_ended": False,
    }
    plain = spoken(tokenizer, tokenizer("4", add_special_tokens=False)["input_ids"], Opening("a"))
    assert plain == {"output": "4"}


def test_what_made_no_row_stands_in_the_headline():
    splits = {"train": {"dropped": {"overlong": 2, FEW_SHOT: 8}}, "dev": {"dropped": {"odd": 1}}}
    said = findings.dropped_rows({"a": {"splits": splits}})
    assert said == " 3 examples made no training row: overlong (2), odd (1)."
    few = {"a": {"splits": {"train": {"dropped": {FEW_SHOT: 8}}}}}
    assert findings.dropped_rows(few) == findings.dropped_rows({}) == ""
