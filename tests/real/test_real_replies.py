"""Replies and scores of pretrained models on real questions, held against plain transformers: its
own chat template, `generate`, and a pass for each option."""

from collections.abc import Callable
from itertools import islice

import pytest
import torch
from real_models import MODELS, instructions, plain_tokenizer, pretrained, problems
from transformers import AutoModelForCausalLM, GenerationConfig

from snaketune.data.example import Example
from snaketune.inference.backends.transformers import open_transformers
from snaketune.inference.options import score_trees
from snaketune.inference.score_options import OptionsProtocol, build_question, question_tree
from snaketune.inference.session import LoadableState
from snaketune.prompts.form import Form, opening_tokens, prompt_opening
from snaketune.prompts.wording import MATH_SYSTEM

CATEGORIES = ("brainstorming", "classification", "closed_qa", "creative_writing")
CLOSE = 2e-4
long = pytest.mark.long


def math_questions() -> list[tuple[Example, list[dict[str, str]]]]:
    """Examples, and the turns that they are to be asked with."""
    asked = [problem["question"] for problem in islice(problems(), 40)]
    system = {"role": "system", "content": MATH_SYSTEM}
    return [
        (Example(str(i), q, answer="#### 1", gold="1"), [system, {"role": "user", "content": q}])
        for i, q in enumerate(asked)
    ]


def open_questions() -> list[tuple[Example, list[dict[str, str]]]]:
    """Likewise; a context stands below its question."""
    found = []
    for row in islice(instructions(), 120):
        question, context = (row[f"original-{part}"] for part in ("instruction", "context"))
        if len(context) < 600 and question == question.strip() and context == context.strip():
            words = f"{question}\n\n{context}" if context else question
            example = Example(row["id"], question, context or None)
            found.append((example, [{"role": "user", "content": words}]))
    return sorted(found, key=lambda pair: pair[0].context is None)


QUESTIONS: dict[str, tuple[Form, Callable]] = {
    "math": (Form("math"), math_questions),
    "open_qa": (Form("open_qa"), open_questions),
}


@pytest.mark.parametrize(("count", "new"), [(2, 12), pytest.param(12, 48, marks=long)])
@pytest.mark.parametrize("kind", MODELS)
def test_replies_and_scores_are_those_of_plain_transformers(kind, count, new):
    spec = pretrained(kind)
    session = open_transformers(LoadableState(spec, "none", "none", []))
    assert session.engine, "both kinds go in batches"
    tokenizer = plain_tokenizer(spec)
    plain = AutoModelForCausalLM.from_pretrained(spec.id, dtype=torch.float32).eval()
    for name, (form, questions) in QUESTIONS.items():
        asked = questions()[:count]
        openings = [prompt_opening(session.tokenizer, e, form, spec.id, []) for e, _ in asked]
        prompts = opening_tokens(session.tokenizer, openings, chat=True)
        wanted = [
            tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
            for _, turns in asked
        ]
        assert prompts == wanted, name
        found = {r.index: r for r in session.replies(prompts, new, "auto")}
        for i, prompt in enumerate(prompts):
            expected = generated(plain, prompt, new, session.ends)
            assert found[i].tokens == expected, (name, i)
    off = max(differences(session, tokenizer, plain, open_questions()[:count]))
    print(f"{kind}: {2 * count} replies are generate's; sums are off by at most {off:.1g}")
    assert off <= CLOSE


def generated(model, prompt, new, ends):
    """What transformers replies, without the end token."""
    config = GenerationConfig(
        max_new_tokens=new, do_sample=False, eos_token_id=ends, pad_token_id=0
    )
    ids = torch.tensor([prompt])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
    )
    tokens = out[0, len(prompt) :].tolist()
    return tokens[:-1] if tokens[-1] in ends else tokens


@torch.inference_mode()
def differences(session, tokenizer, plain, asked):
    """Of each label's sum of log-probabilities, all tokens of prompt and label in a pass alone."""
    protocol = OptionsProtocol("{question}", "{option}", system="", labels=list(CATEGORIES))
    questions = [build_question(e, protocol, session.tokenizer) for e, _ in asked]
    trees = [question_tree(session.tokenizer, protocol, question) for question in questions]
    for scored in score_trees(session.model, session.engine, trees):
        turns = asked[scored.index][1]
        start = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        for label, value in zip(CATEGORIES, scored.sums, strict=True):
            ids = [*start, *tokenizer(label, add_special_tokens=False)["input_ids"]]
            logits = plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            gains = logits[len(start) - 1 : -1].double().log_softmax(-1)
            places = torch.tensor(ids[len(start) :])[:, None]
            yield abs(value - float(gains.gather(1, places).sum()))
