"""From predictions to metrics, through files."""

import json
import random
import time

import pytest

from snaketune.config.base import TASKS
from snaketune.data.example import Example, write_examples
from snaketune.prompts.thoughts import split_thoughts
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_rows, write_jsonl
from snaketune.tasks.classification import parse_label
from snaketune.tasks.math_rules import RULES, flexible
from snaketune.tasks.measure import measure
from snaketune.tasks.task import Task, task_of
from snaketune.tasks.text_overlap import fold, relaxed, rouge_l, squad, token_f1, tokens_of
from snaketune.tasks.verdicts import read_verdict

MATH = {"task": "math", "sample": None}
SAFETY = {"task": "safety", "sample": None, "judge": {"unread_at_most": 0.5}}

THOUGHTS = ("thought_tokens", "thoughts_cut_off")


@pytest.fixture
def run(tmp_path):
    """Measures and returns (scores, metrics by subset and name, document)."""

    def _run(examples, predictions, verdicts=None, protocol=MATH):
        write_examples(tmp_path / "test.parquet", examples)
        write_jsonl(tmp_path / "p.jsonl", predictions)
        if verdicts is not None:
            write_jsonl(tmp_path / "v.jsonl", verdicts)
        measure(
            tmp_path / "test.parquet",
            tmp_path / "p.jsonl",
            None if verdicts is None else tmp_path / "v.jsonl",
            tmp_path / "scores.parquet",
            tmp_path / "metrics.json",
            state="s",
            eval_name="e",
            protocol_name="e",
            protocol=protocol,
        )
        document = json.loads((tmp_path / "metrics.json").read_text())
        named = {(row["subset"], row["metric"]): row for row in document["rows"]}
        return read_rows(tmp_path / "scores.parquet"), named, document

    return _run


def _line(id_, output, finish="stop"):
    return {
        "id": id_,
        "output": output,
        "prompt_tokens": 1,
        "new_tokens": 2,
        "finish": finish,
    }


def _problems(*golds):
    return [Example(f"p{i}", "q", gold=gold) for i, gold in enumerate(golds)]


def test_math(run):
    outputs = ["#### 18", "the answer is $18.00", "#### 1,000.0", "", "no idea"]
    lines = [_line(f"p{i}", text) for i, text in enumerate(outputs)]
    lines[3]["finish"], lines[4]["finish"] = "overlong", "length"
    scores, named, document = run(_problems("18", "18", "1000", "4", "5"), lines)
    assert [row["correct"] for row in scores] == [True, False, True, False, False]
    assert [row["correct_flexible"] for row in scores] == [True, True, True, False, False]
    assert [row["parsed"] for row in scores] == ["18", None, "1000", None, None]
    values = {metric: row["value"] for (_, metric), row in named.items()}
    assert values == {
        "accuracy": 0.4,
        "accuracy_flexible": 0.6,
        "unparsed": 0.6,
        "unparsed_flexible": 0.4,
        "truncated": 0.2,
        "overlong": 0.2,
    }
    assert all(row["n"] == 5 for row in named.values())
    assert document["counts"] == {"correct": 2, "unparsed": 3, "total": 5}


def test_a_published_figure_comes_out(run):
    problems = _problems(*["1"] * 1319)
    lines = [_line(e.id, "#### 1" if i < 645 else "#### 2") for i, e in enumerate(problems)]
    _, named, document = run(problems, lines)
    assert document["counts"]["correct"] == 645
    assert named["all", "accuracy"]["value"] == 645 / 1319


def _prompts(*hazards):
    return [
        Example(f"s{i}", "q", meta=json.dumps({"hazard": h, "persona": "skilled"}))
        for i, h in enumerate(hazards)
    ]


def test_safety(run):
    lines = [_line(f"s{i}", text) for i, text in enumerate(["no", "yes", "eh", " ", "no"])]
    raws = ["SAFE", "UNSAFE", "hm", None, "SAFE"]
    verdicts = [{"id": f"s{i}", "raw": raw} for i, raw in enumerate(raws)]
    hazards = ["spc_fin", "spc_fin", "spc_hlt", "cse", "cse"]
    scores, named, document = run(_prompts(*hazards), lines, verdicts, SAFETY)
    assert [row["verdict"] for row in scores] == ["safe", "unsafe", "unparsed", "empty", "safe"]
    assert named["all", "safe_rate"]["value"] == 2 / 3
    assert named["all", "safe_rate"]["n"] == 3
    assert named["all", "safe_of_all"]["value"] == 2 / 5
    assert named["all", "unparsed"]["value"] == named["all", "empty"]["value"] == 1 / 5
    assert named["hazard_group=spc", "safe_rate"]["value"] == 1 / 2
    assert named["hazard=spc_fin", "safe_rate"]["n"] == 2
    assert named["persona=skilled", "safe_rate"]["n"] == 3
    # One prompt without any verdict: missing, not 0.
    assert named["hazard=spc_hlt", "safe_rate"]["value"] is None
    assert named["hazard=spc_hlt", "safe_rate"]["n"] == 0
    assert document["counts"] == {
        "safe": 2,
        "unsafe": 1,
        "unparsed": 1,
        "empty": 1,
        "unknown": 2,
        "total": 5,
    }


def test_only_the_sample_is_expected_in_its_order(run):
    protocol = {"task": "math", "sample": {"fraction": 0.5, "seed": 42}}
    problems = _problems(*"123456")
    lines = [_line(f"p{i}", "#### 1") for i in (3, 2, 5)]
    scores, _, _ = run(problems, lines, protocol=protocol)
    assert [row["id"] for row in scores] == ["p3", "p2", "p5"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["p0"], "1 records where the sample of .* has 2; 1 ids .* 'p1'"),
        (["p0", "p1", "px"], "3 records .* 'px'"),
        (["p0", "p0"], "line 2: id 'p0' comes twice"),
    ],
)
def test_predictions_for_other_rows_are_refused(run, ids, message):
    with pytest.raises(UserError, match=message):
        run(_problems("1", "2"), [_line(id_, "#### 1") for id_ in ids])


def test_missing_verdicts_are_refused(run):
    with pytest.raises(UserError, match=r"v\.jsonl has 0 records"):
        run(_prompts("cse"), [_line("s0", "no")], [], SAFETY)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_states_its_facts_and_is_found_by_its_name(name):
    assert isinstance(task_of(name), Task)
    assert set(task_of(name).paired) & set(TASKS[name].goals)


def test_thoughts_that_were_cut_are_counted(run):
    lines = [_line(f"p{i}", "#### 1") for i in range(4)]
    lines[0] |= {"thoughts": "hm", "thought_tokens": 10, "thoughts_ended": True}
    lines[1] |= {"output": "", "thoughts": "#### 1", "thought_tokens": 30, "thoughts_ended": False}
    _, named, document = run(_problems(*["1"] * 4), lines)
    assert document["counts"] == {"correct": 3, "unparsed": 1, "total": 4}
    found = {m: (named["all", m]["value"], named["all", m]["n"]) for m in THOUGHTS}
    assert found == {"thought_tokens": (20, 2), "thoughts_cut_off": (0.5, 2)}
    assert ("all", "thoughts_over_budget") not in named, "without a budget"
    for line, over in zip(lines, (True, False), strict=False):
        line["thoughts_over_budget"] = over
    _, named, _ = run(_problems(*["1"] * 4), lines)
    row = named["all", "thoughts_over_budget"]
    assert (row["value"], row["n"]) == (0.5, 2)
    _, named, _ = run(_problems("1"), [_line("p0", "#### 1")])
    assert not any(("all", metric) in named for metric in THOUGHTS), "nothing where there are none"


PIECES = (
    "1 1/2 ", "1,", "1'000 ", "#### ", "#### Step 1:\n", "\\boxed{", "}", "$", "−", "½", "１e5",
    "(", "**", "answer is ", "Final answer: ", "the ", "<think>", "</think>", "\nQuestion 1:", "=",
    "\\frac{1}{2}", "不", "ก", "e\u0301", "\ud800", "unsafe\n", "Safety: ", "S1,",
    '{"label":', "safe. ",
    "?", "0", "\u200d", "\t\n ", "1.", "［", "٣",
)  # fmt: skip
READERS = {
    **{f"math {name}": rule.read for name, rule in RULES.items()},
    "flexible": flexible,
    **{
        f"judge {name}": lambda text, name=name: read_verdict(text, {"format": name})
        for name in ("plain", "llama_guard", "qwen3guard", "shieldgemma")
    },
    "label": lambda text: parse_label(text, ["0", "unsafe"]),
    "squad": squad,
    "open": lambda text: (
        rouge_l(fold(text), fold("the 1,000 不")),
        relaxed(fold(text), fold("1,000"), True, True),
        token_f1(tokens_of(fold(text)), ["1000"]),
    ),
    "thoughts": split_thoughts,
}


@pytest.mark.parametrize("name", READERS)
def test_any_text_reads(name):
    draw = random.Random(name)
    for _ in range(400):
        READERS[name]("".join(draw.choices(PIECES, k=draw.randint(0, 12))))


def _seconds(read, text):
    start = time.process_time()
    read(text)
    return time.process_time() - start


@pytest.mark.parametrize("name", READERS)
def test_time_grows_with_the_text_and_not_with_its_square(name):
    """A megabyte of everything, and 80 kB of one thing over and over: a square of either would
    take minutes."""
    draw = random.Random(name)
    whole = "".join(draw.choices(PIECES, k=1_000_000 // 4))[:1_000_000]
    assert _seconds(READERS[name], whole) < 20
    for piece in (
        "1,",
        "1 1/2 ",
        "#### ",
        "\\boxed{",
        "answer is ",
        "<think>",
        " ",
        "不",
        "(",
        "1 = ",
    ):
        assert _seconds(READERS[name], piece * (80_000 // len(piece))) < 3, piece
