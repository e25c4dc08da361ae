"""What a job made stays for later ones: fewer or more samples, other shards, other replies."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from test_inference_rewards import make_reward_model
from tiny_chat import make_tokenizer, questions, save_chat_model

from snaketune.config.evaluation import JudgeSpec
from snaketune.config.model import ModelSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference import generate as generation
from snaketune.inference import judge as judging
from snaketune.inference import rewards as rewarding
from snaketune.inference import score_options as scoring
from snaketune.inference.ledger import LedgerPart, record_key
from snaketune.inference.session import LoadableState
from snaketune.inference.shards import WHOLE, Shard, join_shards
from snaketune.runtime.files import read_jsonl, write_json, write_jsonl
from snaketune.runtime.workfolder import forget, remove_set_aside

COUNT = 12
DRAWN = {"temperature": 0.8, "top_p": 0.95, "seed": 7}


@dataclass
class Made:
    """What went through a model, and how often one was loaded."""

    loaded: int = 0
    asked: list = field(default_factory=list)

    def taken(self) -> tuple[int, int]:
        """(models loaded, things asked of them) since the last call."""
        found = self.loaded, len(self.asked)
        self.loaded, self.asked = 0, []
        return found


@pytest.fixture
def made(monkeypatch):
    """Counts in every kind of job."""
    count = Made()

    def opens(module, name):
        work = getattr(module, name)

        def counted(*args):
            count.loaded += 1
            opened = work(*args)
            if hasattr(opened, "replies"):
                opened.replies = asks(opened.replies)
            return opened

        monkeypatch.setattr(module, name, counted)

    def asks(work):
        def counted(prompts, *rest):
            samples = rest[3] if len(rest) > 3 else [[0]] * len(prompts)
            count.asked += [s for numbers in samples for s in numbers]
            return work(prompts, *rest)

        return counted

    def scores(module, name, at):
        work = getattr(module, name)

        def counted(*args):
            count.asked += args[at]
            return work(*args)

        monkeypatch.setattr(module, name, counted)

    opens(generation, "open_session")
    opens(judging, "open_session")
    opens(scoring, "open_session")
    opens(rewarding, "load_reward_model")
    scores(scoring, "score_trees", 3)
    scores(rewarding, "score_rewards", 3)
    return count


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_chat_model(folder / "model")
    make_reward_model().save_pretrained(folder / "reward")
    make_tokenizer().save_pretrained(folder / "reward")
    return folder


@pytest.fixture
def files(tmp_path):
    asked = questions(COUNT)
    examples = [
        Example(f"e{i}", q, choices=["apples", "the boy", q], source="x", record=i + 1)
        for i, q in enumerate(asked)
    ]
    write_examples(tmp_path / "examples.parquet", examples)
    (tmp_path / "guideline.txt").write_text("the boy has apples\n")
    return tmp_path


def published(files, name):
    """A file as Snakemake leaves it for an attempt: not there."""
    for path in (files / f"{name}.jsonl", files / f"{name}.meta.json"):
        path.unlink(missing_ok=True)
    return files / f"{name}.jsonl", files / f"{name}.meta.json"


def read(files, name):
    meta = json.loads((files / f"{name}.meta.json").read_text())
    return list(read_jsonl(files / f"{name}.jsonl")), meta


def generate(models, files, name="p", shard=WHOLE, version=0, state=None, work="work", **changes):
    settings = {"system": "add", "few_shot": 0, "sample": None, "max_new_tokens": 5}
    settings |= {"task": "math", "batch_size": "auto"} | changes
    generation.generate(
        state or LoadableState(ModelSpec(id=str(models / "model")), "none", "none", []),
        generation.GenerationProtocol(**settings),
        files / "examples.parquet",
        None,
        files / work,
        *published(files, name),
        shard,
        version,
    )
    return read(files, name)


def options(models, files, name="p", shard=WHOLE, work="work"):
    scoring.score_options(
        LoadableState(ModelSpec(id=str(models / "model")), "none", "none", []),
        scoring.OptionsProtocol("{question} {options}"),
        files / "examples.parquet",
        files / work,
        *published(files, name),
        shard,
    )
    return read(files, name)


def judge(models, files, replies, work="work", planted=0):
    write_jsonl(files / "replies.jsonl", replies)
    judging.judge(
        LoadableState(ModelSpec(id=str(models / "model")), "none", "none", []),
        JudgeSpec(model="j", max_new_tokens=4, planted=planted),
        2,
        files / "replies.jsonl",
        files / "examples.parquet",
        files / "guideline.txt",
        files / work,
        *published(files, "said"),
    )
    return read(files, "said")


def reward(models, files, replies, work="work"):
    write_jsonl(files / "replies.jsonl", replies)
    rewarding.reward(
        ModelSpec(id=str(models / "reward")),
        "",
        files / "replies.jsonl",
        files / "examples.parquet",
        files / work,
        *published(files, "said"),
    )
    return read(files, "said")


def in_shards(job, models, files, count, **more):
    """An eval in so many jobs, and their files joined."""
    names = [f"{i + 1}of{count}" for i in range(count)]
    for i, name in enumerate(names):
        job(models, files, name, Shard(i, count), **more)
    ends = ("jsonl", "meta.json")
    parts, metas = ([files / f"{name}.{end}" for name in names] for end in ends)
    join_shards(parts, metas, *published(files, "joined"))
    for path in (*parts, *metas):
        path.unlink()
    return read(files, "joined")


def kept(files):
    return sorted((files / "work").glob("*/*/records.jsonl"))


def test_fewer_samples_are_read_and_of_more_the_missing_ones_are_made(models, files, made):
    eight, about = generate(models, files, samples=4, **DRAWN)
    assert made.taken() == (1, 4 * COUNT)
    two, fewer = generate(models, files, samples=2, **DRAWN)
    assert made.taken() == (0, 0), "no model is loaded"
    assert two == [r for r in eight if r["sample"] < 2]
    assert fewer["resumed_records"] == 2 * COUNT and fewer["protocol"]["samples"] == 2
    assert fewer["new_tokens"] == sum(r["new_tokens"] for r in two)
    assert fewer["finishes"] == dict(sorted(Counter(r["finish"] for r in two).items()))
    assert fewer["seconds"] == pytest.approx(about["seconds"] / 2, abs=2e-3)
    for same in ("batch_sizes", "tokens_per_second", "template_hash", "example_prompt"):
        assert fewer[same] == about[same]
    more, _ = generate(models, files, samples=6, **DRAWN)
    assert made.taken() == (1, 2 * COUNT), "of six, four were there"
    fresh, _ = generate(models, files, samples=6, **DRAWN, work="other")
    assert more == fresh
    assert [list(r) for r in more] == [list(r) for r in fresh], "to the order of their keys"
    one, _ = generate(models, files, samples=1, **DRAWN)
    assert one == [r for r in eight if r["sample"] == 0]


def test_greedy_and_sampled_replies_are_never_taken_for_one_another(models, files, made):
    greedy, _ = generate(models, files)
    assert all("sample" not in r for r in greedy) and made.taken() == (1, COUNT)
    generate(models, files, samples=2, **DRAWN)
    assert made.taken() == (1, 2 * COUNT)
    generate(models, files)
    assert made.taken() == (1, COUNT)


@pytest.mark.parametrize("job", [generate, options])
def test_shards_read_what_any_number_of_jobs_left(job, models, files, made):
    whole, about = job(models, files)
    assert made.taken() == (1, COUNT)
    for count in (2, 5):
        records, meta = in_shards(job, models, files, count)
        assert records == whole and made.taken() == (0, 0)
        assert meta["resumed_records"] == COUNT and meta["shards"] == count
        for same in ("finishes", "new_tokens", "batch_sizes", "example_prompt", "device"):
            assert meta[same] == about[same]
        assert meta["seconds"] == pytest.approx(about["seconds"], abs=5e-3), "not of each part"
    again, meta = job(models, files)
    assert again == whole and made.taken() == (0, 0)
    assert meta == about | {"resumed_records": COUNT}
    assert len(kept(files)) == 1, "read records are not kept twice"


@pytest.mark.parametrize("job", [generate, options])
def test_one_job_reads_what_shards_made_and_so_do_other_shards(job, models, files, made):
    four, _ = in_shards(job, models, files, 4)
    assert made.taken() == (4, COUNT) and len(kept(files)) == 4
    two, _ = in_shards(job, models, files, 2)
    one, meta = job(models, files)
    assert four == two == one and made.taken() == (0, 0)
    assert len(kept(files)) == 4
    assert meta["new_tokens"] == sum(r.get("new_tokens", 0) for r in one)
    assert "shards" not in meta
    first = meta["example_prompt"]
    in_shards(job, models, files, 3)
    assert json.loads((files / "joined.meta.json").read_text())["example_prompt"] == first


def test_half_of_a_whole_job_serves_shards_and_only_the_rest_is_made(models, files, made):
    whole, _ = generate(models, files, work="other")
    made.taken()
    generate(models, files)
    (file,) = kept(files)
    half = file.read_bytes().splitlines(keepends=True)[: COUNT // 2]
    (file.parent / "meta.json").unlink()
    file.unlink()
    file.write_bytes(b"".join(half) + b'{"id": "e7", "outp')  # as if killed amid a line
    made.taken()
    records, meta = in_shards(generate, models, files, 2)
    assert records == whole and made.taken() == (2, COUNT // 2)
    assert meta["resumed_records"] == COUNT // 2
    assert file.read_bytes().endswith(b"outp"), "other jobs' files are only read"
    again, _ = generate(models, files)
    assert again == whole and made.taken() == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"system": "take"},
        {"max_new_tokens": 4},
        {"seed": 8},
        {"sample": {"count": 5, "seed": 1, "fraction": None}},
        {"state": "other"},
    ],
    ids=str,
)
def test_what_decides_a_record_makes_them_anew(change, models, files, made):
    settings = {"samples": 2, **DRAWN}
    generate(models, files, **settings)
    made.taken()
    if "state" in change:
        spec = ModelSpec(id=str(models / "model"))
        change = {"state": LoadableState(spec, "none", "none", [files / "guideline.txt"])}
    _, meta = generate(models, files, **settings | change)
    loaded, asked = made.taken()
    assert loaded == 1 and asked >= 10 and meta["resumed_records"] == 0
    assert len(kept(files)) == 1, "at most one identity is kept"


def test_kept_records_are_the_published_file_where_these_are_the_same(models, files, made):
    generate(models, files, samples=4, **DRAWN)
    (file,) = kept(files)
    assert file.samefile(files / "p.jsonl")
    before = file.read_bytes()
    generate(models, files, samples=2, **DRAWN)
    assert not file.samefile(files / "p.jsonl") and file.read_bytes() == before
    generate(models, files, samples=4, **DRAWN)
    assert file.samefile(files / "p.jsonl") and made.taken() == (1, 4 * COUNT)
    os.link(files / "p.jsonl", files / "mine.jsonl")
    generate(models, files, samples=5, **DRAWN)
    assert (files / "mine.jsonl").read_bytes() == before, "a published file is never written into"
    assert file.samefile(files / "p.jsonl")
    remove_set_aside(files)
    assert file.exists()


def test_without_hard_links_the_records_stay_in_a_file_of_their_own(
    models, files, made, monkeypatch
):
    def refused(*args):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refused)
    whole, _ = generate(models, files)
    assert not kept(files)[0].samefile(files / "p.jsonl")
    assert generate(models, files)[0] == whole
    assert made.taken() == (1, COUNT)


@pytest.mark.parametrize("how", ["edited", "cut", "emptied"])
def test_kept_records_that_somebody_wrote_into_are_not_read(how, models, files, made, capsys):
    whole, _ = generate(models, files)
    content = (files / "p.jsonl").read_text()
    text = {"edited": content.replace('"output": "', '"output": "!'), "cut": content[:-9]}
    with (files / "p.jsonl").open("r+") as file:  # in place, as some editors do
        file.truncate(0)
        file.write(text.get(how, ""))
    made.taken()
    assert generate(models, files)[0] == whole
    assert (
        made.taken() == (1, COUNT) and "changed since it was published" in capsys.readouterr().out
    )


def test_a_line_that_a_crash_spoilt_is_made_again(models, files, made):
    whole, _ = generate(models, files)
    (file,) = kept(files)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3], lines[5], lines[7] = b"\0" * 40 + b"\n", b"[1]\n", b'{"output": "x"}\n'
    (file.parent / "meta.json").write_bytes(b"")
    file.write_bytes(b"".join(lines))
    made.taken()
    assert generate(models, files)[0] == whole and made.taken() == (1, 3)
    assert file.samefile(files / "p.jsonl")


def test_a_forgotten_job_begins_anew(models, files, made):
    generate(models, files)
    in_shards(generate, models, files, 2)
    forget(files / "work")
    assert not (files / "work").exists()
    forget(files / "work")
    made.taken()
    assert generate(models, files)[1]["resumed_records"] == 0 and made.taken() == (1, COUNT)


def test_shards_on_other_numbers_leave_each_other_alone(models, files, made, monkeypatch):
    """`dtype: auto` differs between kinds of GPU, and shards run wherever there is one."""
    from snaketune.inference import session as jobs

    generate(models, files, "1of2", Shard(0, 2))
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "pick_dtype", lambda name, device: torch.bfloat16)
        generate(models, files, "2of2", Shard(1, 2))
        assert len(kept(files)) == 2
    generate(models, files, "2of2", Shard(1, 2))
    assert len(kept(files)) == 2 and len({f.parents[1] for f in kept(files)}) == 1
    made.taken()
    generate(models, files, "1of2", Shard(0, 2))
    assert made.taken() == (0, 0)
    generate(models, files, version=2)
    assert len(kept(files)) == 1


def replies(texts, samples=1):
    return [
        {"id": f"e{i // samples}", **({"sample": i % samples} if samples > 1 else {}), "output": t}
        for i, t in enumerate(texts)
    ]


JOBS = {"judge": judge, "rewards": reward}


@pytest.mark.parametrize("kind", JOBS)
def test_what_was_said_of_a_reply_that_stays_is_read(kind, models, files, made):
    job, eight = JOBS[kind], replies([*questions(10, seed=1), " ", "one"], samples=4)
    said, about = job(models, files, eight)
    assert made.taken() == (1, 11)
    fewer = [r for r in eight if r["sample"] < 2]
    found, meta = job(models, files, fewer)
    assert made.taken() == (0, 0)
    assert found == [r for r in said if r["sample"] < 2]
    assert meta["resumed_records"] == 6 and sum(meta["finishes"].values()) <= 6
    assert meta["template_hash"] == about["template_hash"]
    assert not any("hash" in name for r in found for name in r), "as it was published before"
    changed = [r | {"output": "two pears"} if i == 2 else r for i, r in enumerate(eight)]
    found, meta = job(models, files, changed)
    assert made.taken() == (1, 1) and meta["resumed_records"] == 11
    fresh, _ = job(models, files, changed, work="other")
    assert list(map(record_key, found)) == list(map(record_key, fresh))
    assert [found[i] for i in range(12) if i != 2] == [said[i] for i in range(12) if i != 2]
    if kind == "judge":
        assert found == fresh
    (file,) = kept(files)
    assert len(file.read_bytes().splitlines()) == 12, "what was said of other replies is gone"


def test_replies_with_a_planted_instruction_are_judged_once_more(models, files, made):
    asked = replies(questions(4, seed=1))
    plain, _ = judge(models, files, asked)
    made.taken()
    found, about = judge(models, files, asked, planted=3)
    assert sum("raw_planted" in line for line in found) == 3
    assert [{k: v for k, v in line.items() if k != "raw_planted"} for line in found] == plain
    again, _ = judge(models, files, asked, work="elsewhere", planted=3)
    assert again == found, "the same ones, and the same words"
    assert about["judge"]["planted"] == 3


@pytest.mark.parametrize("kind", JOBS)
def test_other_questions_or_a_blank_reply_are_noticed(kind, models, files, made):
    job, said = JOBS[kind], replies(questions(4, seed=1))
    job(models, files, said)
    made.taken()
    found, _ = job(models, files, [said[0], said[1] | {"output": " "}, *said[2:]])
    assert made.taken() == (0, 0) and found[1].get("raw", found[1].get("reward")) is None
    write_examples(files / "examples.parquet", [Example(f"e{i}", "how many") for i in range(4)])
    job(models, files, said)
    assert made.taken() == (1, 4)


SHARD = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import test_inference_kept as here
from snaketune.inference.shards import Shard
i = int(sys.argv[1])
here.generate(Path({models!r}), Path({files!r}), f"{{i + 1}}of2", Shard(i, 2))
"""


def test_two_shards_at_once_in_two_processes(models, files, made):
    scripts = Path(__file__).parents[2] / "workflow" / "scripts"
    paths = [str(scripts), str(Path(__file__).parent)]
    code = SHARD.format(paths=paths, models=str(models), files=str(files))
    stale = files / "work" / "0123456789ab" / "1of1"
    stale.mkdir(parents=True)
    write_json(stale / "meta.json", {})
    both = [subprocess.Popen([sys.executable, "-c", code, str(i)]) for i in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert not stale.parent.exists() and len(kept(files)) == 2
    whole, _ = generate(models, files, work="other")
    made.taken()
    assert generate(models, files)[0] == whole and made.taken() == (0, 0)
    assert not list(files.glob(".*.lock"))


def test_a_hundred_thousand_records_are_read_in_seconds(tmp_path):
    import time

    lines = ({"id": f"e{i}", "output": "x" * 400, "finish": "stop"} for i in range(100_000))
    write_jsonl(tmp_path / "1of1" / "records.jsonl", lines)
    start = time.monotonic()
    assert len(LedgerPart(tmp_path / "1of1").records) == 100_000
    assert time.monotonic() - start < 10
