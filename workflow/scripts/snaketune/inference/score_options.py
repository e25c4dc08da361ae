"""Scores of the options of multiple-choice examples, of the labels of a classification, or of
texts, from files to files."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from pathlib import Path
from typing import Any, Literal

from snaketune.data.example import Example, read_sample
from snaketune.data.formats.values import LETTERS
from snaketune.inference.ledger import Ledger, Provenance, wanted_by_key
from snaketune.inference.options import Question, Tree, build_tree, distinguish_labels, score_trees
from snaketune.inference.session import (
    OVERLONG,
    SCORED,
    LoadableState,
    identity_of,
    open_session,
    run_job,
)
from snaketune.inference.shards import WHOLE, Shard
from snaketune.prompts.control_tokens import shield, unshield
from snaketune.prompts.conversation import (
    format_prompt,
    read_worked,
    turn_closing_tokens,
    worked_turns,
)
from snaketune.prompts.form import (
    APART,
    Form,
    Opening,
    chat_opening,
    plain_opening,
    text_tokens,
)
from snaketune.prompts.wording import fill_template
from snaketune.runtime.content import file_hash
from snaketune.runtime.errors import UserError
from snaketune.runtime.job import Progress


@dataclass(frozen=True)
class OptionsProtocol:
    """How a question is put."""

    context: str
    """The prompt, with `{question}` and `{options}` (the options, a line each)."""
    option: str = " {option}"
    """What follows the prompt, with `{option}` or `{letter}`."""
    line: str = "{letter}: {option}\n"
    """A line of `{options}`."""
    system: str | None = None
    """Set: the prompt is the user turn of a conversation with this system turn (empty: none)."""
    sample: dict[str, Any] | None = None
    labels: list[str] = field(default_factory=list)
    """Set: these are scored instead of the example's own options."""
    reply_prefix: str = ""
    """Opens the reply, as part of the prompt."""
    template_args: dict[str, Any] = field(default_factory=dict)
    thinking: Literal["off", "on"] | None = None
    few_shot: int = 0
    """Worked examples before the question."""
    window: int | None = None
    """Set: the examples are texts, each of which is scored whole. So many tokens are read at once
    (or the model's context); in a longer text windows follow one another by half of it, and each
    token is scored once."""

    @property
    def form(self) -> Form:
        """How a question is put."""
        return Form(
            "multiple_choice",
            self.system or "",
            self.context,
            self.system is not None,
            self.reply_prefix,
            self.template_args,
            self.thinking,
        )


def score_options(
    state: LoadableState,
    protocol: OptionsProtocol,
    examples: Path,
    work: Path,
    scores: Path,
    meta: Path,
    shard: Shard = WHOLE,
    version: int = 0,
    few_shot: Path | None = None,
) -> None:
    """Writes a line an example: for each option the summed log-probability, its tokens and its
    characters, from which per-token and per-character scores follow; no sums where the prompt and
    its longest option are longer than the model's context. Scores that a job before made are taken;
    where none is missing, no model is loaded."""
    asked = shard.of(read_sample(examples, protocol.sample))
    shots = read_worked(few_shot, protocol.few_shot)
    settings = asdict(protocol)
    del settings["few_shot"]  # the examples that are shown stand in its place
    if protocol.window is None:
        del settings["window"]  # records of before this key stay what they were
    identity = identity_of(
        state.model,
        version,
        state=state.identity(),
        protocol=settings,
        examples=file_hash(examples),
        **({"shots": shots} if shots else {}),
    )
    run_job(
        work,
        identity,
        wanted_by_key((e.id, 0) for e in asked),
        scores,
        meta,
        make=lambda ledger: (
            _score_texts(state, protocol, asked, ledger)
            if protocol.window
            else _score(state, protocol, asked, shots, ledger)
        ),
        about={"quantisation": state.quantisation, "protocol": asdict(protocol)},
        things="questions with their longest options",
        shard=shard,
    )


def _score(
    state: LoadableState,
    protocol: OptionsProtocol,
    asked: list[Example],
    shots: list[dict[str, Any]],
    ledger: Ledger,
) -> Provenance:
    """Appends the scores that are missing; how all were made."""
    session: Any = open_session(state, state.answered_by("transformers"))
    questions = [build_question(e, protocol, session.tokenizer, session.name, shots) for e in asked]
    trees = [question_tree(session.tokenizer, protocol, q) for q in questions]
    fits = [i for i, tree in enumerate(trees) if tree.longest <= (session.context or tree.longest)]
    for i in set(range(len(trees))) - set(fits):
        ledger.settle(_record(questions[i], trees[i], None))
    missing = [place for place, i in enumerate(fits) if (asked[i].id, 0) not in ledger.records]
    progress = Progress(len(asked), "questions", done=len(ledger.records))
    start = time.monotonic()
    scored = score_trees(session.model, session.engine, [trees[i] for i in fits], missing)
    for found in scored:
        i = fits[found.index]
        ledger.append(_record(questions[i], trees[i], found.sums))
        progress.advance()
    session.seconds = time.monotonic() - start
    made = session.meta(ledger.records.values())
    if questions:
        made["example_prompt"] = unshield(session.tokenizer, questions[0].context)
    return made


def _score_texts(
    state: LoadableState, protocol: OptionsProtocol, asked: list[Example], ledger: Ledger
) -> Provenance:
    """The same of texts: a line each, as of a question with one option."""
    session: Any = open_session(state, state.answered_by("transformers"))
    limit = min(protocol.window or 0, session.context or protocol.window or 0)
    windows = [text_windows(session.tokenizer, example.question, limit) for example in asked]
    owners = [i for i, trees in enumerate(windows) for _ in trees]
    missing = [place for place, i in enumerate(owners) if (asked[i].id, 0) not in ledger.records]
    progress = Progress(len(asked), "texts", done=len(ledger.records))
    start = time.monotonic()
    found: dict[int, list[float]] = {}
    trees = [tree for of in windows for tree in of]
    for scored in score_trees(session.model, session.engine, trees, missing):
        i = owners[scored.index]
        found.setdefault(i, []).extend(scored.sums)
        if len(found[i]) == len(windows[i]):
            tokens = sum(tree.counts[0] for tree in windows[i])
            record = {"sums": [fsum(found[i])], "tokens": [tokens], "windows": len(windows[i])}
            ledger.append({"id": asked[i].id, **record, "finish": SCORED})
            progress.advance()
    session.seconds = time.monotonic() - start
    return session.meta(ledger.records.values()) | {"window": limit}


def text_windows(tokenizer: Any, text: str, limit: int) -> list[Tree]:
    """A text in windows of at most `limit` tokens: what stands before, and what is scored."""
    head, own = text_tokens(tokenizer, text)
    whole, first = [*head, *own], len(head)
    trees: list[Tree] = []
    while first < len(whole):
        before = whole[max(0, first - limit // 2) : first] if trees else head
        last = first + limit - len(before)
        trees.append(Tree(before, [whole[first:last]], [0]))
        first = last
    return trees


def build_question(
    example: Example,
    protocol: OptionsProtocol,
    tokenizer: Any,
    name: str = "of this eval",
    shots: Sequence[dict[str, Any]] = (),
) -> Question:
    """The example as a prompt and its options; `name` is the model's, for messages."""
    options, record = (
        protocol.labels or example.choices,
        f"{example.source}, record {example.record}",
    )
    if not options:
        raise UserError(
            f"{record}: choices: found none, expected the options of a multiple-choice question"
        )
    form = protocol.form
    if form.chat:
        turns = [{"role": "system", "content": protocol.system}] if protocol.system else []
        turns += worked_turns(shots)
        words = format_prompt(form.prompt, form.task, example, protocol.line)
        turns.append({"role": "user", "content": words})
        found = chat_opening(tokenizer, turns, form, name)
    else:
        worked = [shot for shot in shots if "choices" in shot]
        found = plain_opening(tokenizer, example, form, protocol.line, [] if worked else shots)
        before = [_worked(tokenizer, shot, protocol) for shot in worked]
        found = Opening(APART.join([*before, found.text]), found.gap)
    answers = [_answer(tokenizer, protocol, i, option) for i, option in enumerate(options)]
    return Question(example.id, found.text, [found.gap + answer for answer in answers], record)


def _answer(tokenizer: Any, protocol: OptionsProtocol, place: int, option: str) -> str:
    """An option behind the prompt."""
    letter = LETTERS[place : place + 1]
    return fill_template(protocol.option, letter=letter, option=shield(tokenizer, option))


def _worked(tokenizer: Any, shot: dict[str, Any], protocol: OptionsProtocol) -> str:
    """A worked question of plain text, put as the one that is asked is, with its right option
    behind it as options are scored."""
    example = Example("", shot["question"], choices=shot["choices"])
    before = plain_opening(tokenizer, example, protocol.form, protocol.line)
    place = LETTERS.index(shot["label"])
    return before.whole + _answer(tokenizer, protocol, place, shot["choices"][place])


def question_tree(tokenizer: Any, protocol: OptionsProtocol, asked: Question) -> Tree:
    """Labels answer alone, so that where one begins another the end of the reply is scored too;
    options of a question are compared as text."""
    plain = protocol.system is None
    tree = build_tree(tokenizer, asked, plain)
    if not protocol.labels:
        return tree
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    closing = end if plain else turn_closing_tokens(tokenizer, protocol.form.options)
    return distinguish_labels(tree, closing, asked.where)


def _record(asked: Question, tree: Tree, sums: list[float] | None) -> dict[str, Any]:
    """A question's line; without `sums` its prompt was too long. In one pass equal options come
    out a rounding apart, and which one won would be chance: they share the first one's sum."""
    twins = [asked.options.index(option) for option in asked.options]
    return {
        "id": asked.id,
        "sums": None if sums is None else [sums[i] for i in twins],
        "tokens": [tree.counts[i] for i in twins],
        "characters": [len(option.strip()) for option in asked.options],
        "finish": OVERLONG if sums is None else SCORED,
    }
