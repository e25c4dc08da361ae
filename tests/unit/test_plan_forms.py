"""The form of a dataset serves runs and evals, unless they say otherwise; and what the plan says
of forms that differ."""

import pytest

from snaketune.config.experiment import Experiment
from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.protocols import run_evals
from snaketune.plan.trained_forms import prompt_notes
from snaketune.prompts.wording import generation_protocol, options_protocol
from snaketune.runtime.errors import UserError

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
    ("changes", "message"),
    [
        ({"data_": {"prompt": "no"}}, "found no {question}"),
        ({"data_": {"system": "S", "chat": False}}, "needs a chat template"),
        ({"data_": {"thinking": "maybe"}}, "thinking"),
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
