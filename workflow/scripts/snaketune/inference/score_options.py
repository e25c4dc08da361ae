"""Scores of the options of multiple-choice examples, or of the labels of a classification, from
files to files."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snaketune.chat import render
from snaketune.config.evaluation import SampleSpec
from snaketune.data.example import Example, read_examples
from snaketune.data.formats.choices import LETTERS
from snaketune.data.sampling import take
from snaketune.errors import UserError
from snaketune.identity import file_hash
from snaketune.inference.backends import open_transformers
from snaketune.inference.ledger import Ledger
from snaketune.inference.option_tokens import Question, Tree, build_tree, told_apart
from snaketune.inference.options import OptionScores, score_trees
from snaketune.inference.session import Session
from snaketune.inference.shards import WHOLE, Shard
from snaketune.inference.state import State
from snaketune.inference.stops import turn_ending
from snaketune.jsonl import write_json
from snaketune.progress import Progress
from snaketune.tasks.conversation import opened, worded
from snaketune.tasks.wording import fill
from snaketune.workfolder import finish, work_folder


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


def score_options(
    state: State,
    protocol: OptionsProtocol,
    examples: Path,
    work: Path,
    scores: Path,
    meta: Path,
    shard: Shard = WHOLE,
) -> None:
    """Writes a line an example: for each option the summed log-probability, its tokens and its
    characters, from which per-token and per-character scores follow. Goes on after a kill."""
    spec = SampleSpec.model_validate(protocol.sample) if protocol.sample else None
    asked = shard.of(take(read_examples(examples), spec))
    identity = {
        "state": state.identity(),
        "protocol": asdict(protocol),
        "examples": file_hash(examples),
        "shard": asdict(shard),
    }
    folder = work_folder(work, identity)
    ledger = Ledger(folder / "scores.jsonl")
    resumed = len(ledger.records)
    session = open_transformers(state)
    missing = [e for e in asked if (e.id, 0) not in ledger.records]
    questions = [question(e, protocol, session.tokenizer) for e in missing]
    trees = [_tree(session.tokenizer, protocol, q) for q in questions]
    _require_room(session, missing, trees)
    progress = Progress(len(asked), "questions", done=resumed)
    start = time.monotonic()
    for found in score_trees(session.model, session.engine, trees):
        ledger.append(_record(missing[found.index], questions[found.index], found))
        progress.advance()
    session.seconds = time.monotonic() - start
    about = {"quantisation": state.quantisation, "protocol": asdict(protocol)}
    if questions:
        about["example_prompt"] = questions[0].context
    write_json(meta, session.meta() | about | {"resumed_records": resumed})
    ledger.publish(scores, [(e.id, 0) for e in asked])
    finish(folder)


def question(example: Example, protocol: OptionsProtocol, tokenizer: Any) -> Question:
    """The example as a prompt and its options."""
    options = protocol.labels or example.choices
    if not options:
        raise UserError(
            f"{example.source}, record {example.record}: choices: found none, expected the options "
            "of a multiple-choice question"
        )
    text = worded(protocol.context, "multiple_choice", example, protocol.line)
    if protocol.system is not None:
        turns = [{"role": "system", "content": protocol.system}] if protocol.system else []
        turns.append({"role": "user", "content": text})
        text = render(tokenizer, turns, reply_next=True) + protocol.reply_prefix
    elif protocol.reply_prefix:
        text = opened(text, protocol.reply_prefix)
    answers = [
        fill(protocol.option, letter=LETTERS[i : i + 1], option=option)
        for i, option in enumerate(options)
    ]
    return Question(example.id, text, answers)


def _tree(tokenizer: Any, protocol: OptionsProtocol, asked: Question) -> Tree:
    """Labels answer alone, so that where one begins another the end of the reply is scored too;
    options of a question are compared as text."""
    plain = protocol.system is None
    tree = build_tree(tokenizer, asked, plain)
    if not protocol.labels:
        return tree
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return told_apart(tree, end if plain else turn_ending(tokenizer), f"question {asked.id}")


def _require_room(session: Session, examples: Sequence[Example], trees: Sequence[Tree]) -> None:
    """A prompt is never cut: one that is too long for the context stops the job."""
    for example, tree in zip(examples, trees, strict=True):
        longest = len(tree.stem) + max(map(len, tree.branches))
        if session.context is not None and longest > session.context:
            raise UserError(
                f"{example.source}, record {example.record}: found {longest} tokens in the prompt "
                f"and its longest option, expected at most {session.context}, the model's context"
            )


def _record(example: Example, asked: Question, found: OptionScores) -> dict[str, Any]:
    return {
        "id": example.id,
        "sums": found.sums,
        "tokens": found.tokens,
        "characters": [len(option.strip()) for option in asked.options],
    }
