"""A run is asked as it was trained, or it is told before anything runs (traps 37, 38 and 47)."""

import json

import pytest
from test_plan_forms import experiment_of, math_experiment
from test_prompt_templates import KINDS
from test_rows import CHATML, make_tokenizer

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference.agreement import check_run, side_by_side
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.trained_forms import compared_evals, other_forms
from snaketune.prompts.form import Form
from snaketune.prompts.tokenise import RowLimits, tokenise
from snaketune.runtime.errors import UserError

REFUSING = (
    "{% for m in messages %}{% if 'x' in m.content %}{{ raise_exception('no x') }}{% endif %}"
    "{% endfor %}" + CHATML
)


@pytest.fixture
def check(tmp_path):
    def run(experiment, examples, template=CHATML, limit=0.0, dev=()):
        plan = make_plan(experiment)
        tokens = plan.tokens[plan.run_tokens["r"]]
        for split, rows in (("train", examples), ("dev", dev)):
            write_examples(tmp_path / f"{split}.parquet", list(rows))
        tokenizer, form = make_tokenizer(template), Form(**tokens.prompt)
        paths = {split: tmp_path / f"{split}.parquet" for split in ("train", "dev")}
        tokenise(paths, [], tokenizer, form, RowLimits(400, "drop"), tmp_path / "t")
        check_run(
            run="r",
            rows=tmp_path / "t" / "train.parquet",
            dropped=tmp_path / "t" / "dropped.jsonl",
            stats=json.loads((tmp_path / "t" / "stats.json").read_text()),
            examples=paths["train"],
            tokenizer=tokenizer,
            form=form,
            evals=compared_evals(experiment, "r", "d"),
            told=other_forms(experiment, "r", tokens),
            accept=experiment.runs["r"].accept,
            dropped_at_most=limit,
            record=tmp_path / "record.json",
        )
        return json.loads((tmp_path / "record.json").read_text())

    return run


def problems(count=5, answer="{n} + 1 = #### {n}"):
    return [
        Example(f"e{n}", f"What is {n}?", answer=answer.format(n=n), gold=str(n), record=n + 1)
        for n in range(count)
    ]


def classes(count=6):
    return [
        Example(f"e{n}", f"Is {n} even?", answer=str(n % 2), label=str(n % 2), record=n + 1)
        for n in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_replies_and_labels_agree_under_every_kind_of_template(check, kind):
    template = KINDS[kind][0]
    assert check(math_experiment(), problems(), template)["compared"] == ["e"]
    found = check(experiment_of("classification"), classes(), template)
    assert (found["rows"], found["accepted"]) == (6, [])


@pytest.mark.parametrize("read", ["text", "probabilities"])
@pytest.mark.parametrize("where", ["eval", "run"])
def test_another_prompt_is_a_fault_that_shows_where_the_texts_part(check, read, where):
    form = {"prompt": "Even or odd: {question}"}
    changes = {f"{where}_": form, "eval_more": {"classes": {"read": read}}}
    with pytest.raises(UserError) as fault:
        check(experiment_of("classification", **changes), classes())
    lines = str(fault.value).splitlines()
    assert "evals.e: asks with another prompt than was trained in 6 of 6 rows; e0:" in lines
    trained, asked, mark = (
        next(line for line in lines if line.startswith(start))
        for start in ("  trained: ", "  asked:   ", "     ")
    )
    place = mark.index("^")
    assert trained[:place].split(": ", 1)[1] == asked[:place].split(":   ", 1)[1]
    assert trained[place] != asked[place]
    assert "accept: [prompt]" in str(fault.value)


def test_what_is_meant_is_accepted_and_written_down(check):
    changed = experiment_of(
        "classification", eval_={"system": "Think."}, run_={"accept": ["prompt"]}
    )
    assert "another prompt" in check(changed, classes())["accepted"][0]


def test_a_form_of_the_dataset_serves_both(check):
    form = {
        "system": "Be brief.",
        "prompt": "Is it? {question}",
        "reply_prefix": "It is",
        "thinking": "off",
        "template_args": {"more": 1},
    }
    found = check(experiment_of("classification", data_=form), classes(), KINDS["plain"][0])
    assert found["accepted"] == []


def test_thoughts_in_the_answers_need_thinking(check):
    answers = problems(answer="<think>\nhm\n</think>\n\n#### {n}")
    template = KINDS["thoughts moved (Qwen3)"][0]
    with pytest.raises(UserError, match="another prompt"):
        check(math_experiment(), answers, template)
    check(math_experiment(data_={"thinking": True}), answers, template)


def test_an_eval_that_reads_another_form_of_number_is_a_fault(check):
    bare = problems(answer="{n}")
    form = {"system": "Answer with a number."}
    with pytest.raises(UserError, match="reads the trained answers otherwise"):
        check(math_experiment(data_=form), bare)
    check(math_experiment(data_=form, eval_={"answer_rule": "final_answer"}), bare)


def test_bare_numbers_are_trained_in_the_form_that_the_task_asks_for(check, tmp_path):
    assert check(math_experiment(), problems(answer="{n}"))["accepted"] == []
    stats = json.loads((tmp_path / "t" / "stats.json").read_text())
    assert stats["example"]["trained"] == "#### 0<|im_end|>"


def test_a_dataset_that_is_asked_under_two_tasks_needs_a_word(check):
    """Numbers that are asked as math are trained as math; as open answers they are then asked
    otherwise, which is a fault until one of them is said to be meant."""
    both = with_evals(math_experiment(), open={"task": "open_qa", "dataset": "d"})
    with pytest.raises(UserError, match=r"evals\.open: asks with another prompt") as fault:
        check(both, problems(answer="{n}"))
    assert "evals.e:" not in str(fault.value)
    meant = with_evals(
        math_experiment(run_={"accept": ["prompt"]}), open={"task": "open_qa", "dataset": "d"}
    )
    assert "evals.open: asks" in check(meant, problems(answer="{n}"))["accepted"][0]


def test_an_eval_on_another_dataset_of_the_task_is_told_and_no_other(check, capsys):
    told = with_evals(
        experiment_of("classification"),
        far={"task": "classification", "dataset": "other", "system": "Think."},
        same={"task": "classification", "dataset": "other"},
        words={"task": "open_qa", "dataset": "other", "system": "Think."},
    )
    found = check(told, classes())
    assert found["compared"] == ["e"] and found["accepted"] == []
    (line,) = found["told"]
    assert line == (
        "run r is trained under another system turn, prompt than evals.far asks with, on another "
        "dataset"
    )
    assert line in capsys.readouterr().out


def with_evals(experiment, **evals):
    """The experiment with further evals, and its dataset under a second name."""
    more = {name: EvalSpec(**spec) for name, spec in evals.items()}
    data = experiment.datasets | {"other": experiment.datasets["d"]}
    return experiment.model_copy(update={"evals": experiment.evals | more, "datasets": data})


def test_few_odd_answers_are_no_fault_and_many_are(check):
    odd = [*problems(38), Example("odd", "What?", answer="so many", gold="7")]
    check(math_experiment(), odd)
    with pytest.raises(UserError, match="in 3 of 41 rows, such as odd0"):
        odd = [Example(f"odd{n}", f"What {n}?", answer="so many", gold="7") for n in range(3)]
        check(math_experiment(), [*problems(38), *odd])


def test_dropped_rows_have_a_limit(check, capsys):
    rows = [*classes(9), Example("bad", "Is x even?", answer="1", label="1", source="f", record=10)]
    experiment = experiment_of("classification")
    with pytest.raises(UserError, match=r"1 of 10 train examples make no training row") as fault:
        check(experiment, rows, REFUSING)
    assert "bad (f, record 10): the chat template refuses" in str(fault.value)
    assert "dropped: train bad (f, record 10): the chat template refuses" in capsys.readouterr().out
    with pytest.raises(UserError, match="make no training row"):
        check(experiment, rows, REFUSING, limit=0.09)
    assert list(check(experiment, rows, REFUSING, limit=0.1)["dropped"]["train"].values()) == [1]


def test_rows_over_the_length_are_counted_apart(check):
    rows = [*classes(9), Example("long", "Is it? " * 100, answer="1", label="1")]
    assert check(experiment_of("classification"), rows)["dropped"] == {"train": {}, "dev": {}}


def test_dev_rows_count_too(check):
    bad = [Example("bad", "Is x even?", answer="1", label="1")]
    with pytest.raises(UserError, match="1 of 1 dev examples"):
        check(experiment_of("classification"), classes(), REFUSING, dev=bad)


def test_texts_stand_side_by_side():
    shown = side_by_side("a" * 90 + "\nb", "a" * 90 + "c")
    trained, asked, mark = shown.splitlines()
    assert (
        trained == "  trained: …" + "a" * 60 + "\\nb" and asked == "  asked:   …" + "a" * 60 + "c"
    )
    assert mark == " " * len("  trained: …" + "a" * 60) + "^ they part here"


def talk(number):
    """A conversation whose last reply is marked in every second one."""
    before = [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": f"What is {number} + 1?"},
        {"role": "assistant", "content": str(number + 1), "weight": 1},
    ]
    meta = json.dumps({"history": before, "weight": number % 2})
    return Example(f"t{number}", "Sure?", answer="Yes.", gold="Yes.", meta=meta, record=number + 1)


CHAT = {"format": "chat", "columns": None}


@pytest.mark.parametrize("kind", ["plain", "space", "empty thought (Qwen3)"])
@pytest.mark.parametrize("train_on", ["all", "last", "marked"])
def test_conversations_are_asked_as_they_are_trained(check, kind, train_on):
    experiment = experiment_of("open_qa", data_=CHAT | {"train_on": train_on})
    talks = [talk(n) for n in range(4)]
    found = check(experiment, talks, KINDS[kind][0])
    assert (found["rows"], found["compared"], found["accepted"]) == (4, ["e"], [])


def test_a_conversation_that_is_asked_with_another_system_turn_is_a_fault(check):
    rows = [Example(f"e{n}", f"{n}?", answer="Yes.", gold="Yes.") for n in range(3)]
    experiment = experiment_of("open_qa", data_=CHAT, eval_={"system": "Be brief."})
    with pytest.raises(UserError, match="asks with another prompt than was trained in 3 of 3"):
        check(experiment, rows)
    # A row's own system turn stands in any case.
    assert check(experiment, [talk(1)])["accepted"] == []


def test_text_is_scored_as_it_is_trained(check):
    data = {"format": "text", "columns": None}
    experiment = experiment_of("open_qa", data_=data, eval_={"task": "perplexity"})
    texts = [Example(f"t{n}", f"Text number {n}.") for n in range(3)]
    found = check(experiment, texts, template=None)
    assert (found["rows"], found["compared"]) == (3, ["e"])
