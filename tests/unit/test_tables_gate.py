"""The gate: what passes, fails and is undecided, on both sides of each line; and its files."""

from xml.etree import ElementTree

import pytest
from synthetic_results import make_results, table_sources
from verdict_cases import means, missing, shares

from snaketune.config.base import TASKS
from snaketune.config.checks import experiment_faults
from snaketune.config.experiment import Experiment
from snaketune.config.read import load_experiment
from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.runtime.errors import UserError, in_markdown
from snaketune.statistics.paired import score_interval
from snaketune.tables import gate as gates
from snaketune.tables.aggregate import aggregate
from snaketune.tables.gate import judge_gate, junit, require_passed, rows_needed
from snaketune.tasks.task import task_of

SPEC = EvalPlan(task="math", protocol_name="gsm8k", primary="accuracy")
RUN = RunPlan(
    run="r", state="r", base_state="base", model="m", train_data="d", method="qlora", seed=1,
    preset={}, swept={}, evals={"gsm8k": SPEC}, snapshots=[], followed=[], choose=None,
    thresholds={}, totals={},
)  # fmt: skip
PLAN = TablePlan(experiment="e", runs=[RUN], drops={})


def result(value=0.5, thresholds=(), **counts):
    found = {"metric": "accuracy", "value": value, "counts": {"total": 100, **counts}}
    return {"run": "r", "evals": {"gsm8k": found}, "thresholds": list(thresholds)}


def threshold(value, passed):
    return {"metric": "gsm8k.accuracy", "at_least": 0.5, "value": value, "passed": passed}


def judge(compared=None, margin=None, undecided="fail", **known):
    """Of a run whose comparison with its base is `compared`."""
    rows = [
        {"run": "r", "eval": "gsm8k", "metric": "accuracy", "subset": "all", **(compared or {})}
    ]
    section = {"against": None, "undecided": undecided}
    section["not_worse"] = {} if margin is None else {"gsm8k.accuracy": margin}
    final = {"runs": [result(**known)]}
    return judge_gate(PLAN, final, rows, None, section)


@pytest.mark.parametrize(
    ("value", "passed", "outcome"),
    [(0.5, True, "passed"), (0.4999, False, "failed"), (None, False, "failed")],
)
def test_thresholds(value, passed, outcome):
    judged = judge(thresholds=[threshold(value, passed)])
    assert judged["outcome"] == outcome


def test_what_the_run_leaves_out_is_skipped_and_said():
    judged = judge(thresholds=[threshold(None, None)])
    assert judged["outcome"] == "skipped"
    assert judged["checks"][0]["message"] == "the run leaves this eval out"
    with pytest.raises(UserError, match="nothing to judge"):
        require_passed(judged, "gate.md")


def test_a_refused_figure_fails_without_a_threshold_on_it():
    judged = judge(value=None, unparsed=7)
    assert judged["outcome"] == "failed"
    assert "refused: too little could be read (7 unparsed, 100 in all)" in str(judged["checks"])


@pytest.mark.parametrize(
    ("compared", "outcome"),
    [
        (shares(1319, 700, 60, 50), "passed"),  # +0.8, -0.8 to +2.3
        (shares(1319, 700, 20, 120), "failed"),  # -7.6, -9.3 to -5.9
        (shares(100, 50, 6, 5), "undecided"),
        (shares(20, 10), "undecided"),  # nothing differs: 20 rows still tell little
        (shares(1000, 500), "passed"),
        (means(400, 0.4, 0.05), "passed"),
        (missing(60), "failed"),
    ],
)
def test_not_worse_than_the_base(compared, outcome):
    judged = judge(compared, margin=0.02)
    assert judged["outcome"] == outcome
    assert (
        judged["checks"][0]["check"] == "gsm8k.accuracy not worse than base by more than 2.0 points"
    )


def test_both_sides_of_the_margin():
    found = shares(1319, 700, 60, 50)
    for below, outcome in ((1e-6, "passed"), (-1e-6, "undecided")):
        assert judge(found, margin=-found["low"] + below)["outcome"] == outcome
    found = shares(1319, 700, 20, 120)
    for below, outcome in ((-1e-6, "failed"), (1e-6, "undecided")):
        assert judge(found, margin=-found["high"] + below)["outcome"] == outcome


def test_undecided_is_an_outcome_of_its_own():
    found = shares(100, 50, 6, 5)
    judged = judge(found, margin=0.02)
    assert judged["outcome"] == "undecided"
    with pytest.raises(UserError, match="about 2,700 rows needed"):
        require_passed(judged, "gate.md")
    assert judge(found, margin=0.02, undecided="pass")["outcome"] == "passed"
    said = require_passed(judge(found, 0.02, "pass", thresholds=[threshold(0.6, True)]), "gate.md")
    assert said.startswith("Gate passed: 1 of 2 checks:")
    assert "undecided" in said, "what passes for want of rows is said"


def test_so_many_rows_settle_it():
    """With as many rows that differ as these do, and no difference, the interval is narrow enough
    for 80 % power: half its width is z / (z + z of the power) of the margin."""
    found = shares(400, 200, 20, 20)
    needed = rows_needed(found["difference"], found["low"], found["high"], 400, 0.03)
    share = 40 / 400 / 2 * needed
    low, high = score_interval(share, share, needed)
    assert (high - low) / 2 == pytest.approx(0.03 * 1.96 / (1.96 + 0.8416), rel=0.05)
    assert rows_needed(-0.02, -0.021, -0.019, 100, 0.02) is None
    assert rows_needed(0.0, -0.1, 0.1, 100, 0.0) is None


def test_junit_holds_hostile_text_and_counts_right():
    checks = [
        {"run": "r<&\x00", "check": "a", "outcome": outcome, "message": '<"&>\x07 ]]>'}
        for outcome in ("passed", "failed", "undecided", "skipped")
    ]
    judged = {"experiment": "e", "outcome": "failed", "checks": checks}
    suite = ElementTree.fromstring(junit(judged))[0]
    assert suite.attrib == {
        "name": "r<&⟨U+0000⟩", "tests": "4", "failures": "2", "errors": "0", "skipped": "1",
    }  # fmt: skip
    kinds = [[(part.tag, part.get("type")) for part in case] for case in suite]
    assert kinds == [
        [], [("failure", "failed")], [("failure", "undecided")], [("skipped", None)],
    ]  # fmt: skip
    assert suite[1][0].get("message") == '<"&>⟨U+0007⟩ ]]>'
    judged["outcome"] = "passed"
    judged["checks"] = [checks[0], checks[2]]
    assert [part.tag for case in ElementTree.fromstring(junit(judged))[0] for part in case] == [
        "skipped"
    ]


def test_markdown_cells_hold_one_line():
    checks = [{"run": "r", "check": "a|b", "outcome": "failed", "message": "one\ntwo"}]
    text = gates.gate_markdown({"experiment": "e", "outcome": "failed", "checks": checks})
    assert text.splitlines()[-1] == "| ✗ | r | a\\|b | one two |"


def test_against_an_earlier_experiment_by_its_own_scores(tmp_path):
    """Of the same results nothing differs; another protocol and other rows are no comparison."""
    plan = make_results(tmp_path)
    section = {"not_worse": {"gsm8k.accuracy": 0.1}, "against": None, "undecided": "fail"}
    aggregate(plan, table_sources(tmp_path), tmp_path / "tables")
    section["against"] = str(tmp_path)
    aggregate(plan, table_sources(tmp_path), tmp_path / "later", section)
    text = (tmp_path / "later/gate.md").read_text()
    assert text.count(in_markdown(f"not worse than simple in {tmp_path.name}")) == 1
    assert "difference 0.0 points" in text
    for name in ("gate.json", "gate.xml", "gate.md"):
        assert (tmp_path / "later" / name).is_file()
    final = tmp_path / "tables/final_metrics.json"
    final.write_text(final.read_text().replace('"protocol_hash": "', '"protocol_hash": "x'))
    aggregate(plan, table_sources(tmp_path), tmp_path / "later", section)
    assert "measured under another protocol (x" in (tmp_path / "later/gate.md").read_text()


def test_goals_that_are_not_paired_say_so():
    for name, info in TASKS.items():
        paired = [goal for goal in info.goals if goal not in info.unpaired]
        assert set(paired) <= set(task_of(name).paired), name
        assert not set(info.unpaired) & set(task_of(name).paired), name


CONFIG = {
    "experiment": "e",
    "models": {"m": {"id": "data/demo/model"}},
    "datasets": {"d": {"source": "data/demo/math", "format": "gsm8k"}},
    "presets": {"p": {"method": "qlora"}},
    "evals": {"gsm8k": {"task": "math", "dataset": "d"}},
    "runs": {"r": {"model": "m", "preset": "p", "train": "d"}},
}


def faults(**gate):
    experiment = Experiment.model_validate(CONFIG | {"gate": gate})
    return [f"{'.'.join(map(str, f.path))}: {f.message}" for f in experiment_faults(experiment)]


def test_faults_of_the_section():
    assert not faults(not_worse={"gsm8k.accuracy": 0.02})
    assert "nope" in faults(not_worse={"nope.accuracy": 0.02})[0]
    assert "no metric of math" in faults(not_worse={"gsm8k.unparsed": 0.02})[0]
    assert "no margin" in faults(against="results/old")[0]
    assert "nothing that is to be judged" in faults(always=True)[0]
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        faults(not_worse={"gsm8k.accuracy": -0.1})


def test_the_command_line_switches_it_on_beside_the_files_section(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("gate: {not_worse: {gsm8k.accuracy: 0.02}}\n")
    found = load_experiment(CONFIG | {"gate": True}, [file]).gate
    assert (found.always, found.not_worse) == (True, {"gsm8k.accuracy": 0.02})
    assert load_experiment(CONFIG | {"gate": "true"}, [file]).gate == found, "as Snakemake reads it"
    assert not load_experiment(CONFIG | {"gate": False}, [file]).gate.always
    with pytest.raises(UserError, match="nothing that is to be judged"):
        load_experiment(CONFIG | {"gate": True}, [])
