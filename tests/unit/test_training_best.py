"""Scores on dev while the training runs, and the weights that they choose."""

import json

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_training_run import (
    PLAIN,
    PRESET,
    Stopped,
    assert_same_training,
    log_of,
    stop_after,
    train,
)

from snaketune.config.model import Preset
from snaketune.prompts.rows import IGNORED
from snaketune.runtime.errors import UserError
from snaketune.runtime.workfolder import remove_set_aside
from snaketune.training import job, loop, saving
from snaketune.training.batches import TokenRow, padded_batch
from snaketune.training.dev import Answers, DevPoint, best_point, kept_steps
from snaketune.training.loss import CHUNK_NUMBERS, SummedLoss

END = 2
LABELLED = {"rows": "labelled.parquet", "dev": "labelled_dev.parquet"}
LEARNS = {"epochs": 4, "learning_rate": 2e-2, "schedule": "constant"}
"""24 steps, with dev after every third; it gets better and worse again."""
BEST = PRESET | LEARNS | {"best": "accuracy", "keep": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("best")
    # Of smaller weights an adapter learns little in so few steps.
    tiny.save_model(folder / "model", initializer_range=0.2)
    tiny.write_rows(folder / "train.parquet", tiny.make_rows(22))
    tiny.write_rows(folder / "dev.parquet", tiny.make_rows(6, seed=1))
    tiny.write_rows(folder / "none.parquet", [])
    tiny.write_rows(folder / "labelled.parquet", tiny.make_labelled(22))
    tiny.write_rows(folder / "labelled_dev.parquet", tiny.make_labelled(40, seed=1))
    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@torch.no_grad()
def share_right(model, rows):
    """The reference: one row at a time, all logits; position t - 1 says what stands at t."""
    right = 0
    for row in rows:
        logits = model(torch.tensor(row.input_ids)[None]).logits[0]
        answer = [t for t in range(len(row.labels)) if row.labels[t] != IGNORED][:-1]
        right += all(int(logits[t - 1].argmax()) == row.input_ids[t] for t in answer)
    return right / len(rows)


def final_model(files, out, full=False):
    from peft import PeftModel

    folder = out.weights.parent
    base = type(tiny.make_model()).from_pretrained(folder if full else files / "model").eval()
    return base if full else PeftModel.from_pretrained(base, str(folder)).eval()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_accuracy_on_dev_is_that_of_one_row_at_a_time(files, tmp_path, method):
    preset = {k: v for k, v in PLAIN.items() if method == "lora" or k != "lora"}
    out = train(files, tmp_path, preset | LEARNS | {"method": method}, **LABELLED)
    found = log_of(out)["dev_accuracy"].dropna()
    expected = share_right(final_model(files, out, method == "full"), tiny.make_labelled(40, 1))
    assert len(found) == 8
    assert 0 < expected < 1
    assert found.iloc[-1] == expected


def test_accuracy_does_not_depend_on_the_batches_or_on_how_logits_are_made(files, monkeypatch):
    model, rows = tiny.make_model(), tiny.make_labelled(9)
    loss = SummedLoss(model, padded_batch(rows))
    with torch.no_grad():
        summed, likeliest = loss.with_likeliest(padded_batch(rows))
        assert torch.equal(summed, loss(padded_batch(rows)))
        loss.apart = False
        assert torch.equal(loss.with_likeliest(padded_batch(rows))[1], likeliest)
        loss.apart = True
        monkeypatch.setitem(CHUNK_NUMBERS, "cpu", tiny.VOCABULARY)
        assert torch.equal(loss.with_likeliest(padded_batch(rows))[1], likeliest)


def test_the_end_token_is_no_part_of_an_answer_and_every_other_token_is():
    cases = [("1", 1), ("0", 0), ("10", 1), ("01", 0), ("110", 1), ("101", 0), ("011", 0)]
    # No answer begins another: each has tokens of its own.
    rows = [answering(*range(9 * k, 9 * k + len(hits))) for k, (hits, _) in enumerate(cases, 1)]
    for row, (hits, right) in zip(rows, cases, strict=True):
        answers = Answers([row], closed=False)
        assert answers.right(torch.tensor([h == "1" for h in hits]), [row]) == right
    together = torch.tensor([h == "1" for hits, _ in cases for h in hits])
    assert Answers(rows, closed=False).right(together, rows) == 3


def answering(*tokens):
    """A row that learns these tokens, the last of which ends the turn."""
    labels = torch.tensor([IGNORED, IGNORED, IGNORED, *tokens]).numpy()
    return TokenRow("x", labels, labels)


def test_where_an_answer_begins_another_the_end_token_tells_them_apart():
    """1, 10 and 12: who writes 10 has not answered 1."""
    rows = [answering(11, END), answering(11, 10, END), answering(11, 12, END)]
    answers = Answers(rows, closed=True)
    hits = torch.tensor([True, False, True, True, True, True, True, False])
    assert answers.ends_count and answers.right(hits, rows) == 1
    assert answers.candidates(rows[:2]).tolist() == [
        [11, 11, 11], [END, 10, 12], [11, 11, 11], [END, 10, 12], [END, END, END]
    ]  # fmt: skip
    assert not Answers([answering(3, END), answering(4, 3, END)], closed=True).ends_count
    assert Answers(rows, closed=False).candidates(rows) is None


@torch.no_grad()
def share_of_labels(model, rows):
    """The reference: the labels' log-probabilities behind each prompt, as an eval scores them."""
    right = 0
    for row in rows:
        spread = model(torch.tensor([row.input_ids[:-2].tolist()])).logits[0, -1].log_softmax(-1)
        right += [10, 11][int(spread[[10, 11]].argmax())] == row.input_ids[-2]
    return right / len(rows)


def test_best_by_accuracy_compares_labels_with_one_another(files, tmp_path):
    """After so few steps other tokens than labels are often the likeliest ones."""
    for name, seed in (("two", 0), ("two_dev", 1)):
        rows = [row for row in tiny.make_labelled(40, seed) if row.trained_tokens == 2]
        tiny.write_rows(files / f"{name}.parquet", rows)
    few = PLAIN | {"max_steps": 2, "learning_rate": 1e-3, "eval_per_epoch": 1}
    found = {}
    for best in ("none", "accuracy"):
        data = {"rows": "two.parquet", "dev": "two_dev.parquet"}
        out = train(files, tmp_path / best, few | {"best": best}, **data)
        found[best] = log_of(out)["dev_accuracy"].dropna().tolist()
    model = final_model(files, out)
    assert found["none"][-1] == share_right(model, rows) < share_of_labels(model, rows)
    assert found["accuracy"][-1] == share_of_labels(model, rows)


@pytest.mark.parametrize(("best", "sign", "rate"), [("loss", -1, 2e-2), ("accuracy", 1, 3e-2)])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_weights_of_the_best_point_are_the_run_s(
    files, tmp_path, capsys, best, sign, rate, method
):
    """Snapshots lie at the same steps; the best one's bytes are the final ones."""
    preset = {k: v for k, v in BEST.items() if method == "lora" or k != "lora"}
    preset |= {"best": best, "method": method, "learning_rate": rate}
    out = train(files, tmp_path, preset, snapshots=8, **LABELLED)
    dev = log_of(out).dropna(subset="dev_loss")
    values = (sign * dev[f"dev_{best}"]).tolist()
    place = values.index(max(values))
    assert place < 7, "the last point is the best: nothing is shown"
    assert out.weights.read_bytes() == out.snapshot_weights[place].read_bytes()
    meta = json.loads(out.meta.read_text())
    assert (meta["best"], meta["best_step"]) == (best, 3 * (place + 1))
    assert meta["best_value"] == sign * values[place]
    printed = capsys.readouterr()
    assert f"best at step {meta['best_step']}, {best} on dev" in printed.out
    assert f"step {meta['best_step']}: dev loss" in printed.err
    remove_set_aside(tmp_path)
    assert not (tmp_path / "work").exists()


def scored(*values, name="dev_accuracy"):
    rows = [{"step": k, "dev_loss": 1.0, name: value} for k, value in enumerate(values, 1)]
    return [{"step": 1, "loss": 0.1}, *rows]


def test_of_equal_points_the_earliest_is_the_best_and_no_number_never_is():
    nan = float("nan")
    assert best_point(scored(0.2, 0.5, 0.5, 0.4), "accuracy") == DevPoint(2, 0.5)
    assert best_point(scored(3.0, nan, 2.0, 2.0, name="dev_loss"), "loss") == DevPoint(3, 2.0)
    assert best_point(scored(nan, nan), "accuracy") is None
    assert best_point(scored(0.5), "none") is None
    assert best_point([{"step": 1, "loss": 0.1}], "loss") is None


@pytest.mark.parametrize(
    ("best", "keep", "kept"),
    [
        ("accuracy", 0, {2}),
        ("accuracy", 1, {2}),
        ("accuracy", 2, {2, 5}),
        ("accuracy", 3, {2, 4, 5}),
        ("accuracy", 9, {1, 2, 3, 4, 5}),
        ("none", 0, set()),
        ("none", 2, {4, 5}),
    ],
)
def test_the_best_point_is_kept_and_then_the_last_ones(best, keep, kept):
    log = scored(0.1, 0.6, 0.2, 0.6, 0.3)
    assert kept_steps(log, Preset(best=best, keep=keep)) == kept


def test_the_work_folder_never_holds_more_than_keep_once_a_step_is_over(
    files, tmp_path, monkeypatch
):
    held = []
    real = loop.drop_others

    def drop(folder, kept):
        real(folder, kept)
        held.append({int(part.name) for part in (folder / "candidates").iterdir()})

    monkeypatch.setattr(loop, "drop_others", drop)
    preset = BEST | {"keep": 2, "eval_per_epoch": 3}
    out = train(files, tmp_path, preset, **LABELLED)
    log = pd.read_parquet(out.log).to_dict("records")
    evaluated = [row for row in log if row["dev_loss"] == row["dev_loss"]]
    assert len(held) == len(evaluated) == 12
    for count, folders in enumerate(held, 1):
        so_far = evaluated[:count]
        best = max(so_far, key=lambda row: row["dev_accuracy"])["step"]
        assert len(folders) == min(2, count)
        assert {best, so_far[-1]["step"]} <= folders


def test_without_keep_and_best_nothing_is_held(files, tmp_path, monkeypatch):
    saved = []
    real = saving.save_weights
    monkeypatch.setattr(
        saving,
        "save_weights",
        lambda m, folder, d: (saved.append(folder.name), real(m, folder, d)),
    )
    train(files, tmp_path)
    assert saved == ["final"]


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    torch.set_num_threads(1)
    return train(files, tmp_path_factory.mktemp("whole"), BEST, snapshots=3, **LABELLED)


def assert_same_choice(one, other):
    assert_same_training(one, other)
    chosen = [json.loads(out.meta.read_text()) for out in (one, other)]
    assert len({(meta["best"], meta["best_step"], meta["best_value"]) for meta in chosen}) == 1


@pytest.mark.parametrize("step", [1, 4, 13, 24])
def test_a_stop_between_steps_changes_no_choice(files, tmp_path, monkeypatch, whole, step):
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(Stopped):
            train(files, tmp_path, BEST, snapshots=3, **LABELLED)
    assert_same_choice(train(files, tmp_path, BEST, snapshots=3, **LABELLED), whole)


@pytest.mark.parametrize(("module", "place"), [(saving, "save_checkpoint"), (loop, "drop_others")])
@pytest.mark.parametrize("call", [1, 5, 8])
def test_a_stop_amid_the_saving_changes_no_choice(
    files, tmp_path, monkeypatch, whole, module, place, call
):
    """Before the checkpoint that follows the weights, and before the weights of others go."""
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == call:
            raise Stopped
        return real(*_)

    real = getattr(module, place)
    with monkeypatch.context() as patch:
        patch.setattr(module, place, stop)
        with pytest.raises(Stopped):
            train(files, tmp_path, BEST, snapshots=3, **LABELLED)
    for file in tmp_path.glob("work/*/checkpoint.pt"):
        log = torch.load(file, weights_only=True)["state"]["log"]
        held = {int(part.name) for part in (file.parent / "candidates").iterdir()}
        assert kept_steps(log, Preset(best="accuracy", keep=3)) <= held
    assert_same_choice(train(files, tmp_path, BEST, snapshots=3, **LABELLED), whole)


def test_another_keep_goes_on_with_the_same_training(files, tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stopped):
            train(files, tmp_path, BEST, snapshots=3, **LABELLED)
    steps = []
    real = loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda job, n: (steps.append(n), real(job, n))[1])
    resumed = train(files, tmp_path, BEST | {"keep": 1}, snapshots=3, **LABELLED)
    assert steps[0] == 6
    assert_same_choice(resumed, whole)


def test_a_larger_keep_publishes_what_there_is(files, tmp_path, monkeypatch, capsys):
    labelled = BEST | {"best": "none"}
    with monkeypatch.context() as patch:
        stop_after(patch, 22)
        with pytest.raises(Stopped):
            train(files, tmp_path, labelled | {"keep": 1}, **LABELLED)
    out = train(files, tmp_path, labelled | {"keep": 3}, **LABELLED)
    kept = sorted(folder.name for folder in out.kept[0].iterdir())
    assert "step-24" in kept and len(kept) == 2
    assert "keep: step 18 was scored under a smaller keep" in capsys.readouterr().out


def test_the_scale_of_float16_losses_comes_back_after_a_stop(files, tmp_path, monkeypatch):
    """On a GPU the scale grows and shrinks with the steps; here a scaler is put in its place."""
    real, scales = job.torch.amp.GradScaler, []
    grown = {"init_scale": 4.0, "growth_interval": 3}
    monkeypatch.setattr(job.torch.amp, "GradScaler", lambda device, enabled: real(device, **grown))
    take = loop.take_step

    def noted(training, step):
        scales.append((step, training.scaler.get_scale()))
        return take(training, step)

    monkeypatch.setattr(loop, "take_step", noted)
    train(files, tmp_path / "whole")
    expected = dict(scales)
    scales.clear()
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stopped):
            train(files, tmp_path / "resumed", save_every=0)
    scales.clear()
    train(files, tmp_path / "resumed")
    assert scales[0][0] == 7
    assert expected[7] > 4.0
    assert dict(scales) == {step: expected[step] for step in range(7, 12)}


def test_nothing_to_choose_by_is_said_before_or_after_the_training(files, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="dev: found no rows, but the preset's best: accuracy"):
        train(files, tmp_path, BEST, dev="none.parquet")
    nowhere = {"dev_loss": float("nan"), "dev_accuracy": float("nan")}
    monkeypatch.setattr(loop, "dev_scores", lambda _: nowhere)
    with pytest.raises(UserError, match="found no finite accuracy on dev at any step"):
        train(files, tmp_path, BEST, **LABELLED)


def test_the_final_adapter_is_written_whole(files, whole):
    weights = load_file(whole.weights)
    assert any(value.any() for name, value in weights.items() if "lora_B" in name)
    assert json.loads(whole.config.read_text())["r"] == 4


@pytest.mark.parametrize("keep", [1, 3])
def test_kept_weights_are_published_by_step(files, tmp_path, keep):
    """The best and the last ones; a snapshot at every point that is scored says what they are."""
    out = train(files, tmp_path, BEST | {"keep": keep}, snapshots=8, **LABELLED)
    kept = {int(f.name.removeprefix("step-")): f for f in (tmp_path / "kept").iterdir()}
    best = json.loads(out.meta.read_text())["best_step"]
    others = [step for step in range(24, 0, -3) if step != best]
    assert set(kept) == {best, *others[: keep - 1]}
    for step, folder in kept.items():
        weights, config = folder / out.weights.name, folder / out.config.name
        assert weights.read_bytes() == out.snapshot_weights[step // 3 - 1].read_bytes()
        assert config.read_bytes() == out.config.read_bytes()


def test_without_dev_rows_nothing_is_kept_and_it_is_said(files, tmp_path, capsys):
    train(files, tmp_path, PRESET | {"keep": 2}, dev="none.parquet")
    assert not list((tmp_path / "kept").iterdir())
    assert "keep: no weights are kept" in capsys.readouterr().out
