"""Checks run before all else, without an edge to it."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from snaketune.config.evaluation import EvalSpec
from snaketune.plan.table_plan import EvalPlan
from snaketune.runtime import alive, start
from snaketune.runtime.errors import UserError
from snaketune.runtime.start import (
    ask_before_planning,
    behind_checks,
    made_by_other_code,
    only_looks,
    power_notes,
    require_answerers,
    restrict,
    trackers_of,
)
from snaketune.steps.versions import made_by


class Job:
    def __init__(self, rule: str, *needs: "Job") -> None:
        self.rule, self.needs = SimpleNamespace(name=rule), needs

    def is_group(self) -> bool:
        return False

    def __repr__(self) -> str:
        return self.rule.name


class Dag:
    def __init__(self, *jobs: Job) -> None:
        self.jobs, self.done = jobs, set()
        self.dependencies = {job: dict.fromkeys(job.needs) for job in jobs}

    def needrun_jobs(self):
        return list(self.jobs)

    def finished(self, job: Job) -> bool:
        return job in self.done

    def bfs(self, direction, *jobs):
        queue = list(jobs)
        for job in queue:
            yield job
            queue += [other for other in direction[job] if other not in queue]


@pytest.mark.parametrize(
    ("rule", "state", "made", "needed"),
    [
        ("generate_gguf", "low-gguf_f16", True, True),
        ("score_options_shard_gguf", "low-gguf_f16", False, True),
        # Behind a choice of snapshots only what is measured is known.
        ("measure", "low-gguf_f16", False, True),
        ("measure", "low-gguf_f16", True, False),
        ("measure", "low", False, False),
        ("gguf", "", False, False),
    ],
)
def test_llama_cpp_is_asked_for_where_its_replies_are_due(
    rule, state, made, needed, tmp_path, monkeypatch
) -> None:
    plan = SimpleNamespace(exported_states=["low-gguf_f16"])
    wildcards = SimpleNamespace(
        **({"state": state, "protocol": "math"} if state else {"run": "low"})
    )
    job = SimpleNamespace(rule=SimpleNamespace(name=rule), wildcards=wildcards)
    if made:
        (tmp_path / "predictions" / state).mkdir(parents=True)
        (tmp_path / "predictions" / state / "math.jsonl").touch()
    monkeypatch.setattr("snaketune.runtime.start.find_spec", lambda name: name)
    require_answerers(plan, tmp_path, [job])
    monkeypatch.setattr("snaketune.runtime.start.find_spec", lambda name: None)
    if not needed:
        require_answerers(plan, tmp_path, [job])
        return
    with pytest.raises(UserError, match=r"found no llama_cpp.* envs/requirements-gguf.txt"):
        require_answerers(plan, tmp_path, [job])


def test_trackers_are_those_of_the_trainings_that_are_due() -> None:
    runs = {
        name: SimpleNamespace(report_to=names)
        for name, names in {"a": ["wandb"], "b": ["trackio", "wandb"], "c": ["mlflow"]}.items()
    }
    due = [("train_adapter_0", "a"), ("train_full_2", "b"), ("prompts", "c")]
    jobs = [
        SimpleNamespace(rule=SimpleNamespace(name=rule), wildcards=SimpleNamespace(run=run))
        for rule, run in due
    ]
    assert trackers_of(SimpleNamespace(runs=runs), jobs) == ["wandb", "trackio"]


class StartError(Exception):
    pass


def select_all(jobs, remaining, resources, sizes):
    return list(jobs)


@pytest.fixture
def started():
    prepare, train = Job("prepare"), Job("train")
    check, other = Job("manifest", prepare), Job("model")
    dag = Dag(prepare, check, other, train)
    scheduler = SimpleNamespace(
        _job_selector=select_all, job_selector_greedy=select_all, running=set(), failed=set()
    )
    workflow = SimpleNamespace(dag=dag, scheduler=scheduler)
    assert restrict(workflow, [{"manifest", "model"}, {"prompts"}], StartError)
    return workflow, dag, scheduler, (prepare, check, other, train)


def chosen(scheduler, *jobs: Job) -> list[Job]:
    assert scheduler.job_selector_greedy(jobs, [], {}, {}) == scheduler._job_selector(
        jobs, [], {}, {}
    )
    return scheduler._job_selector(jobs, [], {}, {})


def test_only_checks_and_what_they_need_start_while_one_is_due(started):
    _, dag, scheduler, (prepare, check, other, train) = started
    assert chosen(scheduler, prepare, other, train) == [prepare, other]
    dag.done |= {prepare, other}
    assert chosen(scheduler, check, train) == [check]
    scheduler.running = {check}
    assert chosen(scheduler, train) == []
    dag.done.add(check)
    scheduler.running = set()
    assert chosen(scheduler, train) == [train]


def test_a_later_check_and_what_it_needs_wait_for_the_earlier_ones(started):
    _, dag, scheduler, (prepare, check, other, train) = started
    tokenize = Job("tokenize", prepare)
    prompts = Job("prompts", tokenize)
    dag.jobs += (tokenize, prompts)
    dag.dependencies |= {tokenize: {prepare: None}, prompts: {tokenize: None}}
    dag.done |= {prepare, other}
    assert chosen(scheduler, check, tokenize, train) == [check]
    dag.done.add(check)
    assert chosen(scheduler, tokenize, train) == [tokenize]
    dag.done.add(tokenize)
    assert chosen(scheduler, prompts, train) == [prompts]
    dag.done.add(prompts)
    assert chosen(scheduler, train) == [train]


def test_once_open_it_stays_open(started):
    _, dag, scheduler, (prepare, check, other, train) = started
    dag.done |= {prepare, check, other}
    assert chosen(scheduler, train) == [train]
    dag.done.clear()
    assert chosen(scheduler, train) == [train]


def test_going_on_after_a_failed_check_ends_in_one_line(started):
    _, _, scheduler, (prepare, _, other, train) = started
    scheduler.failed, scheduler.running = {prepare, other}, {Job("other")}
    assert chosen(scheduler, train) == []
    scheduler.running = set()
    with pytest.raises(StartError, match=r"a check failed \(model, prepare; see above\)"):
        scheduler._job_selector([train], [], {}, {})


def test_another_scheduler_is_left_alone():
    workflow = SimpleNamespace(dag=Dag(), scheduler=SimpleNamespace(select=select_all))
    assert not restrict(workflow, [{"model"}], StartError)
    assert vars(workflow.scheduler) == {"select": select_all}


@pytest.mark.parametrize(
    "target, behind",
    [
        ("results/demo/train/a/train_meta.json", True),
        ("./results/demo/report.html", True),
        ("results/demo/data/x/manifest.json", False),
        ("results/demo/environment.json", False),
        ("results/other/report.html", False),
        ("results/demo", False),
        ("merge_all", False),
    ],
)
def test_files_behind_the_checks_take_them_along(target, behind):
    assert behind_checks(target, "results/demo") is behind


OTHER = {"code": "0" * 12}


@pytest.mark.parametrize(
    "makers, expected",
    [
        ([made_by("generate"), made_by("join_shards")], []),
        ([made_by("generate") | OTHER, made_by("join_shards")], ["1of2", "2of2"]),
        ([made_by("generate"), made_by("join_shards") | OTHER], ["joined"]),
        ([made_by("generate") | OTHER, made_by("join_shards") | OTHER], ["1of2", "2of2", "joined"]),
        # Made whole, and in parts from now on.
        ([made_by("generate") | OTHER], ["1of2", "2of2"]),
        ([], ["1of2", "2of2"]),
    ],
)
def test_of_a_joined_file_the_parts_are_made_again(makers, expected, tmp_path):
    joined, whole = str(tmp_path / "joined"), str(tmp_path / "whole")
    (tmp_path / "joined").write_text(json.dumps({"made_by": makers}))
    (tmp_path / "whole").write_text(json.dumps({"made_by": makers}))
    parts = {joined: ["1of2", "2of2"]}
    found = made_by_other_code([joined, str(tmp_path / "not there")], parts)
    assert [name.removeprefix(f"{tmp_path}/") for name in found] == expected
    assert made_by_other_code([whole], parts) == ([whole] if expected else [])


@pytest.mark.parametrize(
    ("sample", "prepared", "rows"),
    [
        (None, None, None),
        (None, 263, 263),
        ({"count": 100}, None, 100),
        ({"count": 100}, 40, 40),
        ({"fraction": 0.2}, 1319, 263),
        ({"fraction": 0.2}, None, None),
    ],
)
def test_what_so_many_rows_can_show_is_told_as_far_as_they_are_known(
    sample, prepared, rows, tmp_path
):
    spec = EvalSpec(task="math", dataset="d", sample=sample)
    open_qa = EvalSpec(task="open_qa", dataset="d", sample=sample)
    evals = {k: EvalPlan(task=k, protocol_name=k, primary="x") for k in ("math", "open_qa")}
    alone = SimpleNamespace(base_state=None, evals=evals)
    plan = SimpleNamespace(
        protocols={"math": spec, "open_qa": open_qa},
        table=[alone, SimpleNamespace(base_state="base", evals=evals)] * 2,
    )
    if prepared:
        (tmp_path / "data/d").mkdir(parents=True)
        manifest = {"splits": {"test": {"out": prepared}}}
        (tmp_path / "data/d/manifest.json").write_text(json.dumps(manifest))
    found = list(power_notes(plan, tmp_path))
    assert len(found) == (rows is not None)
    if rows == 263:
        assert found[0].startswith("eval math: 263 rows show a difference of 5.4 points with 80 %")
    elif rows:
        assert f" {rows} rows show" in found[0]
    plan.table = [alone]
    assert list(power_notes(plan, tmp_path)) == []


class Asked:
    """As much of Snakemake's workflow as is asked before it plans."""

    def __init__(self, targets: set[str], due: list[str], dry: bool = False) -> None:
        self.dag_settings = SimpleNamespace(targets=targets, forcerun=set())
        self.dag, self.dryrun, self.default_target = Dag(*map(Job, due)), dry, "all"
        self.resource_settings = SimpleNamespace(nodes=None)
        self.global_resources: dict = {}
        self.locked: list[str] = []
        self._prepare_dag = self._prepare
        self.nolock: bool | None = None
        ask_before_planning(self, "results/x", [])

    def _prepare(self, nolock: bool = False) -> None:
        self.nolock = nolock

        @contextmanager
        def lock():
            self.locked.append("locked")
            yield

        self.persistence = SimpleNamespace(lock=lock)

    def start(self) -> list[str]:
        """Plans and takes the locks; which it took."""
        self._prepare_dag(nolock=False)
        with self.persistence.lock():
            return ["nolock"] if self.nolock else self.locked


@pytest.mark.parametrize(
    ("targets", "due", "beside", "dry", "locks"),
    [
        ({"check"}, ["check"], False, False, []),
        ({"talk"}, ["talk"], False, False, []),
        ({"check"}, ["prepare", "check"], False, False, ["locked"]),
        ({"check"}, ["check"], True, False, ["nolock"]),
        (set(), ["train"], False, False, ["locked"]),
        ({"check", "all"}, ["check"], True, False, ["locked"]),
        ({"all"}, ["train"], False, True, ["nolock"]),
    ],
)
def test_a_look_locks_only_what_it_makes_and_a_dry_run_nothing(
    targets, due, beside, dry, locks, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alive, "HELD", [])
    monkeypatch.setattr(start, "works_beside", lambda: beside)
    assert Asked(targets, due, dry).start() == locks
    held = (tmp_path / ".snakemake/alive").exists()
    assert held == (locks == ["locked"]), "what makes something is seen by others"


def test_looks_alone_are_looks() -> None:
    assert only_looks([Job("check"), Job("talk")])
    assert not only_looks([Job("check"), Job("prepare")]) and not only_looks([])
