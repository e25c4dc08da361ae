"""When a checkpoint is made, what goes into it while the training moves on, and one between a step
and its scores."""

import threading
from types import SimpleNamespace

import pytest
import torch
from test_training_best import BEST, LABELLED, assert_same_choice, files  # noqa: F401
from test_training_run import Stopped, assert_same_training, count_steps, train

from snaketune.runtime.errors import UserError
from snaketune.training import loop, saving
from snaketune.training.saving import Checkpoints, TrainingState


@pytest.fixture
def training():
    """State, model and optimiser after one step."""
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    _step(model, optimizer)
    return TrainingState(step=1, log=[{"loss": 1.0}]), model, optimizer


def _step(model, optimizer):
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(saving.time, "monotonic", lambda: now.seconds)
    return now


def test_what_is_written_aside_is_what_stood_between_the_steps(training, tmp_path, monkeypatch):
    state, model, optimizer = training
    saving.save_checkpoint(tmp_path / "at once", state, model, optimizer)
    go_on, write = threading.Event(), saving._write
    monkeypatch.setattr(saving, "_write", lambda *found: (go_on.wait(60), write(*found)))
    checkpoints = Checkpoints(tmp_path / "aside", every=1)
    checkpoints.save(state, model, optimizer)
    assert not (tmp_path / "aside").exists()
    _step(model, optimizer)
    state.step, state.log[0]["loss"] = 2, 9.0
    go_on.set()
    checkpoints.close()
    one, other = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("at once", "aside")
    )
    assert one["state"] == other["state"]
    assert one["optimizer"]["param_groups"] == other["optimizer"]["param_groups"]
    for place in ("weights", "optimizer"):
        pairs = zip(_tensors(one[place]), _tensors(other[place]), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def _tensors(content):
    if isinstance(content, torch.Tensor):
        return [content]
    return [t for v in content.values() for t in _tensors(v)] if isinstance(content, dict) else []


@pytest.mark.parametrize(
    ("every", "copying", "has_room", "wait"),
    [
        (60, 1.1, True, 60),
        (60, 1.3, True, 65),
        (60, 5.9, True, 295),
        (60, 6.1, True, 300),
        (60, 900, True, 300),
        (600, 1, True, 600),
        (60, 900, False, 45_000),
        (0, 900, True, 0),
    ],
)
def test_checkpoints_are_apart_by_what_one_costs(
    training, tmp_path, monkeypatch, clock, every, copying, has_room, wait
):
    def takes(*_):
        clock.seconds += copying

    monkeypatch.setattr(saving, "_copied", takes)
    monkeypatch.setattr(saving, "_write", lambda *_: None)
    monkeypatch.setattr(saving, "save_checkpoint", takes)
    checkpoints = Checkpoints(tmp_path, every)
    assert checkpoints.due() == (every == 0)
    needed = 4 * 3 * 8 + 2 * 4  # weights and two moments of 8 numbers, two counts of steps
    checkpoints.room = lambda: 2 * needed + has_room
    checkpoints.save(*training)
    checkpoints.finish()
    clock.seconds += max(wait - 0.5, 0)
    assert checkpoints.due() == (every == 0)
    clock.seconds += 0.51
    assert checkpoints.due()


def test_none_is_due_while_one_is_written_and_a_fault_comes_with_the_next(
    training, tmp_path, monkeypatch, clock
):
    go_on = threading.Event()

    def fails(*_):
        go_on.wait(60)
        raise UserError("no room")

    monkeypatch.setattr(saving, "_write", fails)
    checkpoints = Checkpoints(tmp_path, every=60)
    checkpoints.save(*training)
    clock.seconds += 1000
    assert not checkpoints.due()
    go_on.set()
    with pytest.raises(UserError, match="no room"):
        checkpoints.save(*training)
    checkpoints.close()


@pytest.mark.parametrize("call", [1, 4])
def test_a_kill_amid_an_evaluation_costs_that_evaluation(
    files,  # noqa: F811
    tmp_path,
    monkeypatch,
    call,
):
    """A checkpoint lies before each, were it long; the training goes on with the scores."""
    torch.set_num_threads(1)
    whole = train(files, tmp_path / "whole", BEST, snapshots=3, **LABELLED)
    monkeypatch.setattr(loop, "LONG", -1.0)
    real, calls = loop.dev_scores, []

    def stop(job):
        calls.append(job.state.step)
        if len(calls) == call:
            raise Stopped
        return real(job)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "dev_scores", stop)
        with pytest.raises(Stopped):
            train(files, tmp_path / "killed", BEST, snapshots=3, **LABELLED)
    steps = count_steps(monkeypatch)
    resumed = train(files, tmp_path / "killed", BEST, snapshots=3, **LABELLED)
    assert steps[0] == calls[-1]  # counted from 0: the step after
    assert_same_choice(resumed, whole)
    assert_same_training(resumed, whole)


@pytest.mark.parametrize(("seconds", "age", "saved"), [(30, 30, 1), (29, 99, 0), (99, 29, 0)])
def test_a_checkpoint_before_an_evaluation_where_both_are_long(seconds, age, saved):
    self = SimpleNamespace(seconds_of_one=seconds, checkpoints=SimpleNamespace(age=age))
    assert loop._Loop._may_be_long(self, {}) == saved


def test_before_the_first_evaluation_its_length_follows_from_dev_s_tokens():
    row = {"tokens_per_second": 10.0}
    for tokens, long in ((300, True), (299, False)):
        job = SimpleNamespace(dev=[SimpleNamespace(input_ids=range(tokens))])
        self = SimpleNamespace(seconds_of_one=None, checkpoints=SimpleNamespace(age=1e9), job=job)
        assert loop._Loop._may_be_long(self, row) == long
