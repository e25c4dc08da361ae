"""Options, labels, rewards and verdicts: killed at any record and gone on with, they end as if
uninterrupted, bit for bit; records of other versions, numbers or devices are not gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from test_inference_rewards import make_reward_model
from tiny_chat import make_tokenizer, questions, save_chat_model

from snaketune.config.evaluation import JudgeSpec
from snaketune.config.model import ModelSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference import session as jobs
from snaketune.inference.generate import GenerationProtocol, generate
from snaketune.inference.judge import judge
from snaketune.inference.ledger import Ledger
from snaketune.inference.rewards import reward
from snaketune.inference.score_options import OptionsProtocol, score_options
from snaketune.inference.session import LoadableState
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, write_jsonl
from snaketune.runtime.workfolder import held

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
COUNT = 24


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Models, examples and replies."""
    folder = tmp_path_factory.mktemp("inputs")
    save_chat_model(folder / "model")
    make_reward_model().save_pretrained(folder / "reward")
    make_tokenizer().save_pretrained(folder / "reward")
    asked = questions(COUNT)
    examples = [
        Example(f"e{i}", q, choices=["apples", "the boy", q], source="x", record=i + 1)
        for i, q in enumerate(asked)
    ]
    write_examples(folder / "examples.parquet", examples)
    replies = [{"id": f"e{i}", "output": q} for i, q in enumerate(questions(COUNT, seed=1))]
    write_jsonl(folder / "replies.jsonl", replies)
    (folder / "guideline.txt").write_text("the boy has apples\n")
    return folder


def base(inputs):
    return LoadableState(ModelSpec(id=str(inputs / "model")), "none", "none", [])


def generate_job(inputs, *where, version):
    protocol = GenerationProtocol("math", "add", 0, None, 6, "auto")
    generate(base(inputs), protocol, inputs / "examples.parquet", None, *where, version=version)


def options_job(inputs, *where, version):
    protocol = OptionsProtocol("{question} {options}")
    score_options(base(inputs), protocol, inputs / "examples.parquet", *where, version=version)


def judge_job(inputs, *where, version):
    files = [inputs / name for name in ("replies.jsonl", "examples.parquet", "guideline.txt")]
    judge(base(inputs), JudgeSpec(model="j", max_new_tokens=4), 2, *files, *where, version=version)


def reward_job(inputs, *where, version):
    files = [inputs / name for name in ("replies.jsonl", "examples.parquet")]
    reward(ModelSpec(id=str(inputs / "reward")), "", *files, *where, version=version)


JOBS = {
    "generate": generate_job,
    "options": options_job,
    "judge": judge_job,
    "rewards": reward_job,
}


def run(kind, inputs, out, name="it", version=1):
    """The records and how they were made."""
    where = (out / f"{name}.work", out / f"{name}.jsonl", out / f"{name}.meta.json")
    JOBS[kind](Path(inputs), *where, version=version)
    return list(read_jsonl(where[1])), json.loads(where[2].read_text())


class Killed(BaseException):
    """Stands for the end of the process."""


def run_until(monkeypatch, count, *args, **more):
    """A job that is killed when `count` records are written."""
    keep = Ledger.append

    def append(self, record):
        if len(self.records) == count:
            raise Killed
        keep(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", append)
        with pytest.raises(Killed):
            run(*args, **more)


@pytest.mark.parametrize("count", [1, 9, COUNT - 1])
@pytest.mark.parametrize("kind", JOBS)
def test_what_is_missing_comes_out_the_same(kind, count, inputs, tmp_path, monkeypatch):
    whole, about = run(kind, inputs, tmp_path, "whole")
    run_until(monkeypatch, count, kind, inputs, tmp_path)
    records, meta = run(kind, inputs, tmp_path)
    assert records == whole, "to the last bit"
    assert meta["resumed_records"] == count
    assert meta["finishes"] == about["finishes"] and sum(meta["finishes"].values()) == COUNT
    assert meta.get("new_tokens") == about.get("new_tokens")


@pytest.mark.parametrize("kind", JOBS)
def test_records_of_other_code_or_numbers_or_devices_are_made_anew(
    kind, inputs, tmp_path, monkeypatch
):
    run_until(monkeypatch, 9, kind, inputs, tmp_path)
    assert run(kind, inputs, tmp_path, version=2)[1]["resumed_records"] == 0
    run_until(monkeypatch, 9, kind, inputs, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "pick_dtype", lambda name, device: torch.bfloat16)
        assert run(kind, inputs, tmp_path)[1]["resumed_records"] == 0
    run_until(monkeypatch, 9, kind, inputs, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "pick_device", lambda: torch.device("cuda"))
        patch.setattr(jobs, "pick_dtype", lambda name, device: torch.float32)
        assert run(kind, inputs, tmp_path)[1]["resumed_records"] == 0


@pytest.mark.parametrize("kind", JOBS)
def test_records_are_one_process_s_at_a_time(kind, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "held", partial(held, patience=0.1))
    message = "it.work: found another process that works there"
    with held(tmp_path / "it.work"), pytest.raises(UserError, match=message):
        run(kind, inputs, tmp_path)
    run(kind, inputs, tmp_path)
    assert not list(tmp_path.glob(".*.lock"))


SLOWLY = """
import sys, time
sys.path[:0] = [{scripts!r}, {tests!r}]
from pathlib import Path
from snaketune.inference import ledger
keep = ledger.Ledger.append
def slow(self, record):
    keep(self, record)
    time.sleep(0.2)
ledger.Ledger.append = slow
import test_inference_resume as here
here.run({kind!r}, {inputs!r}, Path({out!r}))
"""


@pytest.mark.parametrize("kind", JOBS)
def test_a_model_that_moved_goes_on(kind, inputs, tmp_path, monkeypatch):
    run_until(monkeypatch, 3, kind, inputs, tmp_path)
    moved = shutil.copytree(inputs, tmp_path / "moved")
    assert run(kind, moved, tmp_path)[1]["resumed_records"] >= 3


@pytest.mark.parametrize("kind", ["generate", "options", "rewards"])
def test_a_process_that_was_killed(kind, inputs, tmp_path):
    code = SLOWLY.format(
        scripts=str(SCRIPTS),
        tests=str(Path(__file__).parent),
        kind=kind,
        inputs=str(inputs),
        out=str(tmp_path),
    )
    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.DEVNULL)
    for _ in range(600):
        written = list(tmp_path.glob("it.work/*/1of1/records.jsonl"))
        if written and written[0].read_bytes().count(b"\n") >= 3:
            break
        assert process.poll() is None, "the job ended by itself"
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "it.jsonl").exists()
    with written[0].open("ab") as file:
        file.write(b'{"id": "e9", "outp')  # as if killed amid a line
    records, meta = run(kind, inputs, tmp_path)
    assert 3 <= meta["resumed_records"] < COUNT
    assert records == run(kind, inputs, tmp_path, "whole")[0]
    if kind == "generate":
        assert meta["new_tokens"] == sum(r["new_tokens"] for r in records)
        own = meta["tokens_per_second"] * meta["seconds"]
        assert own < meta["new_tokens"], "the rate is of the last start, the count of the whole"
