"""Whether a run is asked as it was trained: its rows, token by token, against what its evals send.

Compared are real rows: the tokens up to the reply with the prompt's, few-shot turns left out; the
place and the tokens of the right label or option; and whether the eval's rule reads the answers
that were trained. What differs is a fault that shows both texts, unless the run accepts it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snaketune.data.example import Example, read_examples
from snaketune.data.formats.values import LETTERS
from snaketune.inference.generate import GenerationProtocol
from snaketune.inference.score_options import OptionsProtocol, build_question, question_tree
from snaketune.prompts.form import Form, opening_tokens, prompt_opening, text_tokens
from snaketune.prompts.rows import IGNORED
from snaketune.prompts.thoughts import split_thoughts
from snaketune.prompts.tokenise import NOT_A_FAULT, trained_reply
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, read_table, write_json
from snaketune.tasks.task import Answered, task_of

ROWS = 200
"""Rows that are compared, evenly spread."""
_UNREAD_AT_MOST = 0.05
"""Share of the answers that an eval's rule may read otherwise than the data has them."""
_READ = ("math", "classification")
"""Tasks whose replies are read for an answer that is right or wrong."""
_SHOWN, _LISTED = 60, 5


@dataclass(frozen=True)
class TrainedRow:
    """An example and what was made of it."""

    example: Example
    before: list[int]
    """Tokens up to the last reply that is learned."""
    learned: list[int]
    ids: list[int]
    """All tokens."""

    def begins(self, asked: list[int]) -> bool:
        """Whether these are the tokens before the last reply. Of a conversation it need not be one
        that is learned."""
        longer = bool(self.example.history) and len(asked) > len(self.before)
        return asked == (self.ids[: len(asked)] if longer else self.before)


@dataclass
class Difference:
    """What one eval has that training has not."""

    eval: str
    what: str
    rows: list[str] = field(default_factory=list)
    """Ids of the examples."""
    shown: str = ""
    """Of the first of them, in lines."""

    def text(self, total: int) -> str:
        """In words."""
        return f"evals.{self.eval}: {self.what} in {len(self.rows)} of {total} rows{self.shown}"


def check_run(
    run: str,
    rows: Path,
    dropped: Path,
    stats: Mapping[str, Any],
    examples: Path,
    tokenizer: Any,
    form: Form,
    evals: Mapping[str, Mapping[str, Any]],
    told: Sequence[str],
    accept: Sequence[str],
    dropped_at_most: float,
    record: Path,
) -> None:
    """Writes what was compared to `record`. `evals` are those on the run's own dataset: how each is
    asked (`asked`), whether it `generates`, and its `protocol`; `told`: what is said of the others.

    Raises `UserError` where training and an eval do not agree and the run does not accept it, or
    where more examples than `dropped_at_most` made no row.
    """
    refuse_dropped(run, stats, dropped, dropped_at_most)
    compared = spread_rows(rows, examples)
    found = [
        difference
        for name, about in evals.items()
        for difference in differences(name, about, tokenizer, form, compared)
    ]
    texts = [difference.text(len(compared)) for difference in found]
    if texts and "prompt" not in accept:
        raise UserError(
            f"runs.{run}: trained otherwise than it is asked.\n" + "\n".join(texts) + "\n"
            "Give both the same form: under datasets (system, prompt, chat, reply_prefix, "
            "template_args, thinking), which runs and evals take unless they say otherwise. "
            f"If it is meant, set runs.{run}.accept: [prompt]"
        )
    for line in [*texts, *told]:
        print(line)
    write_json(
        record,
        {
            "run": run,
            "rows": len(compared),
            "compared": sorted(evals),
            "accepted": texts,
            "told": list(told),
            "dropped": {split: _faults(s["dropped"]) for split, s in stats["splits"].items()},
        },
    )


def refuse_dropped(run: str, stats: Mapping[str, Any], dropped: Path, at_most: float) -> None:
    """Holds what made no row against the limit. Rows over the length and few-shot examples are left
    out by the config's own word."""
    for split, counts in stats["splits"].items():
        faults = sum(_faults(counts["dropped"]).values())
        total = counts["in"] - sum(counts["dropped"].values()) + faults
        if faults <= at_most * total:
            continue
        rows = [r for r in read_jsonl(dropped) if r["split"] == split and _is_fault(r["reason"])]
        first = "\n".join(
            f"  {r['id']} ({r['source']}, record {r['record']}): {r['reason']}"
            for r in rows[:_LISTED]
        )
        more = f"\n  and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
        raise UserError(
            f"runs.{run}: {faults} of {total} {split} examples make no training row, more than "
            f"dropped_at_most of its preset allows ({at_most:g}); all are in {dropped}:\n"
            f"{first}{more}"
        )


def _faults(reasons: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in reasons.items() if _is_fault(reason)}


def _is_fault(reason: str) -> bool:
    return not reason.startswith(NOT_A_FAULT)


def spread_rows(rows: Path, examples: Path) -> list[TrainedRow]:
    """Rows of a file of training rows, from its first to its last, with their examples."""
    table = read_table(rows, ["id", "input_ids", "labels"]).to_pylist()
    step = max(1, len(table) // ROWS)
    known = {example.id: example for example in read_examples(examples)}
    chosen = [row for row in table[::step][:ROWS] if row["id"] in known]  # not a text's later rows
    return [_trained_row(known[row["id"]], row) for row in chosen]


def _trained_row(example: Example, row: Mapping[str, Any]) -> TrainedRow:
    labels = row["labels"]
    last = max(i for i, label in enumerate(labels) if label != IGNORED)
    first = next((i for i in range(last, 0, -1) if labels[i - 1] == IGNORED), 0)
    return TrainedRow(example, row["input_ids"][:first], labels[first : last + 1], row["input_ids"])


def differences(
    name: str,
    about: Mapping[str, Any],
    tokenizer: Any,
    form: Form,
    rows: Sequence[TrainedRow],
) -> list[Difference]:
    """What the eval `name` has otherwise than training, one entry a kind."""
    prompt = Difference(name, "asks with another prompt than was trained")
    place = Difference(name, "scores the right answer as other tokens than were trained")
    unread = Difference(name, "reads the trained answers otherwise than the data has them")
    for row in rows:
        asked, answer = _asked(about, tokenizer, row.example)
        if not row.begins(asked):
            _note(prompt, row, tokenizer, row.before, asked)
        elif answer is not None and row.learned[: len(answer)] != answer:
            _note(place, row, tokenizer, row.learned, answer)
        if about["generates"] and not _read_right(about["protocol"], row.example, form):
            reply = trained_reply(row.example, form)
            unread.shown = unread.shown or (
                f", such as {row.example.id}: trained {reply[-_SHOWN:]!r}, gold "
                f"{row.example.gold or row.example.label!r}"
            )
            unread.rows.append(row.example.id)
    few = len(unread.rows) <= _UNREAD_AT_MOST * len(rows)
    return [found for found in (prompt, place, *([] if few else [unread])) if found.rows]


def _asked(
    about: Mapping[str, Any], tokenizer: Any, example: Example
) -> tuple[list[int], list[int] | None]:
    """The tokens that the eval sends before a reply, and those of the right option where it scores
    some."""
    if about["generates"]:
        protocol = GenerationProtocol(**about["asked"])
        before = prompt_opening(tokenizer, example, protocol.form, "of this run")
        return opening_tokens(tokenizer, [before], protocol.chat)[0], None
    scored = OptionsProtocol(**about["asked"])
    if scored.window:  # of a text that was cut there are no more tokens to compare
        return text_tokens(tokenizer, example.question)[0], None
    tree = question_tree(tokenizer, scored, build_question(example, scored, tokenizer))
    right = _right_option(scored, example)
    branch, start = tree.branches[right], tree.scored[right]
    return tree.stem + branch[:start], branch[start:]


def _right_option(protocol: OptionsProtocol, example: Example) -> int:
    return (protocol.labels or LETTERS).index(example.label or "")


def _read_right(protocol: Mapping[str, Any], example: Example, form: Form) -> bool:
    """Whether the eval's rule reads the trained answer as the right one."""
    if protocol["task"] not in _READ:
        return True
    said = split_thoughts(trained_reply(example, form)).answer or ""
    prediction = {"id": example.id, "output": said, "finish": "stop", "new_tokens": 0}
    answered = Answered(example, prediction, None, dict(protocol))
    return bool(task_of(protocol["task"]).score(answered)["correct"])


def _note(
    found: Difference, row: TrainedRow, tokenizer: Any, trained: list[int], asked: list[int]
) -> None:
    if not found.rows:
        texts = (tokenizer.decode(ids) for ids in (trained, asked))
        found.shown = f"; {row.example.id}:\n{side_by_side(*texts)}"
    found.rows.append(row.example.id)


def side_by_side(trained: str, asked: str) -> str:
    """Both texts from a little before the place where they part, which is marked."""
    pairs = enumerate(zip(trained, asked, strict=False))
    place = next((i for i, (a, b) in pairs if a != b), min(len(trained), len(asked)))
    start = max(0, place - _SHOWN)
    before, one, other = (
        repr(text)[1:-1]
        for text in (trained[start:place], trained[place:][:_SHOWN], asked[place:][:_SHOWN])
    )
    dots = "…" if start else ""
    mark = " " * len(f"  trained: {dots}{before}") + "^ they part here"
    return f"  trained: {dots}{before}{one}\n  asked:   {dots}{before}{other}\n{mark}"
