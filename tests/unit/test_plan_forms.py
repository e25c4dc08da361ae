"""The form of a dataset serves runs and evals, unless they say otherwise; and what the plan says
of forms that differ."""

from pathlib import Path

import pytest
import yaml

from snaketune.config.changes import small_eval
from snaketune.config.experiment import Experiment
from snaketune.config.read import load_experiment
from snaketune.data.example import Example
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.protocols import needs_thoughts, run_evals
from snaketune.plan.trained_forms import prompt_notes, talking_form
from snaketune.prompts.conversation import format_prompt
from snaketune.prompts.form import Form
from snaketune.prompts.wording import MATH_SYSTEM, generation_protocol, options_protocol
from snaketune.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
DATA = {
    "math": {"format": "table", "columns": {"question": "q", "answer": "a"}},
    "classification": {
        "format": "table",
        "columns": {"question": "q", "label": "a"},
        "labels": ["0", "1"],
    },
    "multiple_choice": {
        "format": "table",
        "columns": {"question": "q", "answer": "a", "choices": ["b", "c"]},
    },
    "open_qa": {"format": "table", "columns": {"question": "q", "answer": "a"}},
}


def experiment_of(task: str, data_=None, run_=None, eval_=None, eval_more=None) -> Experiment:
    """A run and an eval of a task on one dataset."""
    config = {
        "experiment": "t",
        "models": {"m": {"id": "data/demo/model"}},
        "datasets": {"d": {"source": "d.csv", **DATA[task], **(data_ or {})}},
        "presets": {"p": {}},
        "evals": {"e": {"task": task, "dataset": "d", **(eval_ or {}), **(eval_more or {})}},
        "runs": {"r": {"model": "m", "preset": "p", "train": "d", **(run_ or {})}},
    }
    return load_experiment(config, [])


def math_experiment(**changes) -> Experiment:
    """Of a table of numbers."""
    return experiment_of("math", **changes)


FORM = {
    "system": "S",
    "prompt": "P {question}",
    "reply_prefix": "R",
    "template_args": {"effort": "low"},
    "thinking": "on",
}


def forms(experiment):
    plan = make_plan(experiment)
    (tokens,) = plan.tokens.values()
    return tokens.prompt, plan.protocols["e"]


def test_the_dataset_words_both():
    trained, asked = forms(experiment_of("open_qa", data_=FORM))
    sent = generation_protocol(asked)
    for key, value in FORM.items():
        assert trained[key] == sent[key] == value
    assert not list(
        prompt_notes(
            experiment_of("open_qa", data_=FORM), make_plan(experiment_of("open_qa", data_=FORM))
        )
    )


def test_runs_and_evals_may_say_otherwise():
    own = {"system": "", "prompt": "Q {question}", "reply_prefix": "", "thinking": "off"}
    trained, asked = forms(experiment_of("open_qa", data_=FORM, run_=own))
    assert (trained["system"], trained["reply_prefix"], trained["thinking"]) == ("", "", "off")
    assert (asked.system, asked.reply_prefix, asked.thinking) == ("S", "R", "on")
    trained, asked = forms(experiment_of("open_qa", data_=FORM, eval_=own))
    assert (trained["system"], asked.system, asked.reply_prefix) == ("S", "", "")


@pytest.mark.parametrize(("said", "thinking"), [(True, "on"), (False, "off"), ("on", "on")])
def test_yaml_reads_on_and_off_as_booleans(said, thinking):
    trained, asked = forms(experiment_of("open_qa", data_={"thinking": said}))
    assert trained["thinking"] == asked.thinking == thinking


def test_plain_text_serves_both():
    experiment = experiment_of("multiple_choice", data_={"chat": False, "prompt": "{question}"})
    trained, asked = forms(experiment)
    assert trained["chat"] is False and options_protocol(asked)["system"] is None
    older = experiment_of("multiple_choice", eval_={"options": {"chat": False}})
    assert options_protocol(make_plan(older).protocols["e"])["system"] is None


def test_what_is_usual_is_not_mentioned():
    """Names of token sets and hashes of protocols stay as they were."""
    trained, asked = forms(experiment_of("open_qa"))
    assert trained.keys() == {"task", "system", "prompt", "reply_prefix", "chat"}
    newer = {"chat", "template_args", "thinking"}
    assert not newer & (asked.protocol().keys() | generation_protocol(asked).keys())


def test_a_table_of_numbers_that_is_asked_as_math_is_trained_as_math():
    trained, _ = forms(math_experiment())
    assert trained["task"] == "math"
    assert forms(experiment_of("open_qa"))[0]["task"] == "open_qa"


def test_the_plan_says_what_is_trained_otherwise():
    experiment = experiment_of(
        "open_qa", run_={"system": "Other"}, eval_={"prompt": "A {question}"}
    )
    (note,) = prompt_notes(experiment, make_plan(experiment))
    assert note == ("run r is trained under another system turn, prompt than evals.e asks with")


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ({"model": "m", "adapter": "hub:a/b"}, "an adapter"),
        ({"predictions": {"e": "p.jsonl"}}, "predictions"),
    ],
)
def test_what_was_made_elsewhere_has_no_rows_to_compare(made, what):
    config = experiment_of("open_qa").model_dump(mode="json", exclude_unset=True)
    experiment = load_experiment({**config, "runs": {"r": made}}, [])
    (note,) = prompt_notes(experiment, make_plan(experiment))
    assert note == f"run r: {what} made elsewhere; there are no rows to compare prompts with"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_": {"prompt": "no"}}, "found no {question}"),
        ({"data_": {"system": "S", "chat": False}}, "needs a chat template"),
        (
            {"data_": {"thinking": "maybe"}},
            "d.thinking: found .maybe.: input",
        ),
        ({"eval_": {"chat": True, "options": {"chat": False}}}, "options.chat is False"),
        ({"run_": {"accept": ["all"]}}, "accept"),
    ],
)
def test_forms_that_do_not_go_together(changes, message):
    with pytest.raises(UserError, match=message):
        experiment_of("multiple_choice", **changes)


def test_evals_of_a_run_may_change_the_form():
    experiment = experiment_of("open_qa", data_=FORM, run_={"evals": {"e": {"system": "T"}}})
    (spec,) = run_evals(experiment, experiment.runs["r"]).values()
    assert (spec.system, spec.prompt) == ("T", FORM["prompt"])


@pytest.mark.parametrize(
    ("task", "changes", "expected"),
    [
        ("classification", {}, "Q?\n\nAnswer with one of these labels:\n0\n1\nLabel:"),
        ("classification", {"chat": False}, "Q?\n\nAnswer with one of these labels:\n0\n1\nLabel:"),
        ("classification", {"system": ""}, "Q?\n\nAnswer with one of these labels:\n0\n1\nLabel:"),
        # Whoever words either words it all.
        ("classification", {"system": "Is it right (0) or flawed (1)?"}, "Q?"),
        ("classification", {"prompt": "{question}"}, "Q?"),
        ("math", {"chat": False}, MATH_SYSTEM + "\n\nQ?"),
        ("math", {"chat": False, "prompt": "{question}"}, "Q?"),
        ("math", {}, "Q?"),  # the system turn says it
        ("open_qa", {"chat": False}, "Q?"),
    ],
)
def test_default_prompts_name_what_is_expected(task, changes, expected):
    """In the protocol, so that what was made under another default is made anew."""
    trained, asked = forms(experiment_of(task, data_=changes))
    example = Example("1", "Q?")
    assert format_prompt(trained["prompt"], task, example) == expected
    assert format_prompt(asked.prompt, task, example) == expected
    if task == "math" and not changes:
        assert Form(task).turns(example)[0] == {"role": "system", "content": MATH_SYSTEM}
    sent = generation_protocol(asked) if asked.generates else options_protocol(asked)
    words = sent["prompt"] if asked.generates else sent["context"]
    assert format_prompt(words, task, example) == expected
    assert asked.protocol()["prompt"] == asked.prompt


def test_a_run_or_eval_that_words_a_classification_itself_keeps_its_words():
    own = {"system": "Zero or one?"}
    trained, asked = forms(experiment_of("classification", run_=own, eval_=own))
    assert (trained["prompt"], asked.prompt) == (None, None)
    (tokens,) = make_plan(experiment_of("classification")).tokens.values()
    named = {"prompt": "{question}\n\nAnswer with one of these labels:\n0\n1\nLabel:"}
    (worded,) = make_plan(experiment_of("classification", data_=named)).tokens.values()
    assert tokens.name == worded.name, "the default is the same as writing it out"


def test_the_recipes_prompts_are_their_own():
    """Each as it stands in its config, whatever the defaults are."""
    for file in sorted((ROOT / "config/experiments").glob("*.yaml")):
        experiment = load_experiment(yaml.safe_load(file.read_text()), [])
        for run in experiment.runs.values():
            for name, spec in run_evals(experiment, run).items():
                written = experiment.evals[name]
                assert (spec.prompt, spec.system) == (written.prompt, written.system), file.name


@pytest.mark.parametrize(
    ("said", "trained", "asked"),
    [
        ({"budget": 5}, "on", {"budget": 5}),
        (True, "on", "on"),
        (False, "off", "off"),
    ],
)
def test_a_budget_of_thoughts_is_the_evals_and_trains_as_thoughts(said, trained, asked):
    """Another budget makes replies anew and no training."""
    rows, spec = forms(experiment_of("open_qa", data_={"thinking": said}))
    assert rows["thinking"] == trained
    assert generation_protocol(spec)["thinking"] == spec.protocol()["thinking"] == asked


def test_another_budget_trains_nothing_again():
    few, many = (experiment_of("open_qa", data_={"thinking": {"budget": n}}) for n in (5, 6))
    assert make_plan(few).tokens.keys() == make_plan(many).tokens.keys()
    asked = [generation_protocol(make_plan(e).protocols["e"]) for e in (few, many)]
    assert asked[0] != asked[1]
    assert not list(prompt_notes(few, make_plan(few)))
    assert needs_thoughts(few, "m") == [{}] and needs_thoughts(experiment_of("open_qa"), "m") == []


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        (
            "open_qa",
            {"data_": {"thinking": {"budget": 0}}},
            "d.thinking.budget: found 0",
        ),
        ("open_qa", {"data_": {"thinking": {"budget": 9, "budgets": 9}}}, "did you mean budget"),
        ("multiple_choice", {"data_": {"thinking": {"budget": 9}}}, "task multiple_choice scores"),
        ("classification", {"eval_": {"thinking": {"budget": 9}}}, "writes no thoughts"),
        (
            "open_qa",
            {"data_": {"thinking": {"budget": 9}}, "eval_": {"backend": "vllm"}},
            "backend vllm does not keep to",
        ),
        ("open_qa", {"data_": {"thinking": {"budget": 9}, "chat": False}}, "in plain text"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused_in_one_line(task, changes, message):
    with pytest.raises(UserError, match=message) as found:
        experiment_of(task, **changes)
    assert str(found.value).count("\n") == 1, found.value


def test_a_smoke_run_thinks_little_and_with_the_demos_models_without_a_budget():
    """These do not think."""
    for budget, kept in ((9, 9), (16, 16), (17, 16)):
        spec = forms(experiment_of("open_qa", data_={"thinking": {"budget": budget}}))[1]
        assert small_eval(spec, demo=False).thinking.budget == kept
        assert small_eval(spec, demo=True).thinking == "on"


def talked(experiment: Experiment) -> Form:
    return Form(**talking_form(experiment, make_plan(experiment), "r"))


@pytest.mark.parametrize(
    ("task", "run", "typed", "asked"),
    [
        ("math", {}, "1 + 1?", "1 + 1?"),
        ("math", {"prompt": "Solve: {question}"}, "1 + 1?", "Solve: 1 + 1?"),
        ("classification", {"prompt": "Good? {question}"}, "x", "Good? x"),
        # Places that nobody who chats fills.
        ("classification", {"prompt": "{question}\n{context}"}, "x", "x"),
        ("multiple_choice", {}, "x", "x"),
        ("multiple_choice", {"prompt": "{question}\n{options}"}, "x", "x"),
    ],
)
def test_a_chat_is_put_as_the_run_was_trained(task: str, run: dict, typed: str, asked: str) -> None:
    experiment = experiment_of(task, run_={"system": "S", "accept": ["prompt"], **run})
    form = talked(experiment)
    assert form.system == "S"
    assert format_prompt(form.prompt, form.task, Example("", typed)) == asked


def test_a_chat_with_a_model_as_it_is_is_put_as_its_first_eval() -> None:
    alone = {"preset": None, "train": None}
    experiment = experiment_of("open_qa", run_=alone, eval_={"system": "S", "reply_prefix": "R"})
    form = talked(experiment)
    assert (form.system, form.reply_prefix, form.chat, form.prompt) == ("S", "R", True, None)
