"""What a start says in the terminal, by the plain command."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from conftest import Project
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from warm_start import warm

LINES = {"SNAKETUNE_LISTING": ""}
QUIZ = "results/demo/data/quiz/manifest.json"
SNAKEMAKES = ("jobid", "localrule", "wildcards:", "reason:", "Select jobs", 'File "', "\033")


def test_a_start_tells_a_line_a_job_and_faults_without_code(project: Project) -> None:
    unknown = project.snakemake("-n", "--config", "runs={simple: {modle: tiny}}", **LINES)
    assert unknown.returncode == 1
    assert "error: " in unknown.stdout and "runs.simple.modle: unknown key" in unknown.stdout

    tracked = "runs={simple: {report_to: [trackio]}}"
    if find_spec("trackio") is None:
        target = "results/demo/train/simple/train_meta.json"
        early = project.snakemake(target, "--config", tracked, **LINES)
        assert early.returncode == 1 and "✓" not in early.stdout
        assert "report_to: found trackio, which is not installed here" in early.stdout

    columns = "datasets={quiz: {columns: {question: nothing}}}"
    failed = project.snakemake(QUIZ, "--config", columns, **LINES)
    assert failed.returncode == 1
    said = [" ".join(line.split()) for line in failed.stdout.splitlines()]
    assert any(line.startswith("✗ prepare quiz test") for line in said), said
    assert "nothing" in failed.stdout and failed.stdout.count("What to do: mend what this") == 1
    assert said[-1].startswith("failed: prepare quiz test. finished steps stay finished")

    done = project.snakemake("--", QUIZ, **LINES)
    assert done.returncode == 0
    said = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert said[-1].startswith("✓ manifest quiz ")
    assert sum(line.startswith("✓ ") for line in said) <= 3, "one line for what is prepared"
    assert "Nothing to be done" in project.snakemake("--", QUIZ, **LINES).stdout.splitlines()[-1]
    for output in (unknown, failed, done):
        assert not [word for word in SNAKEMAKES if word in output.stdout], output.stdout


SMALL = """
experiment: small
models: {tiny: {id: data/demo/model}}
datasets:
  reading: {source: data/demo/reading, format: dolly, few_shot: {count: 0}, limit: 20}
presets: {p: {method: lora, max_length: 128}}
evals: {answers: {task: open_qa, dataset: reading, max_new_tokens: 16}}
runs: {first: {model: tiny, preset: p, train: reading}}
"""


def test_check_and_preview_are_whole_commands_without_a_gpu(project: Project) -> None:
    (project.folder / "small.yaml").write_text(SMALL)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def said(target: str) -> str:
        command = [sys.executable, "-m", "snakemake", target, "--configfile", "small.yaml"]
        done = subprocess.run(command, cwd=project.folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    told = said("check")
    for words in ("first", "24 GB", "48 GB", "80 GB", "lost on the way", "16", "20"):
        assert words in told
    assert "~" not in told.split("on one GPU")[0], "all is counted, nothing assumed"
    shown = said("preview")
    assert "⟦" in shown and "first on tiny" in shown and "<|im_start|>" in shown
    page = (project.folder / "results/small/preview.html").read_text()
    assert "<mark>" in page and "<script" not in page
    assert not (project.folder / "results/small/train").exists(), "nothing is trained"
    with a_start_at_work(project.folder):
        assert "first on tiny" in said("preview"), "at every call, beside a start too"


@contextmanager
def a_start_at_work(folder: Path) -> Iterator[None]:
    """As if one made everything there: it holds the folder, and Snakemake's locks on all files,
    which it finds again."""
    alive, locks = folder / ".snakemake/alive", folder / ".snakemake/locks"
    locks.mkdir(parents=True, exist_ok=True)
    files = [f"results/small/{name}" for name in ("data/reading/manifest.json", "preview.html")]
    files += [str(f.relative_to(folder)) for f in (folder / "results").rglob("*.*") if f.is_file()]
    for kind in ("input", "output"):
        (locks / f"0.{kind}.lock").write_text("\n".join(files))
    with alive.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield
    assert len(list(locks.iterdir())) == 2, "they are that start's"
    for lock in locks.iterdir():
        lock.unlink()


def test_a_chat_runs_beside_a_start_and_says_in_a_line_where_it_cannot(project: Project) -> None:
    (project.folder / "small.yaml").write_text(SMALL)

    def talk(typed: str, *more: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [*project.command("talk", "--configfile", "small.yaml"), *more],
            cwd=project.folder, env={**warm(), **LINES}, input=typed, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = [line for line in done.stdout.splitlines() if not line.startswith("Using workflow")]
        return done.returncode, said

    code, said = talk("", "--config", "talk=frist")
    assert code == 1 and said == [
        "error: talk: found frist, expected --config talk=RUN, one of: first"
    ]
    code, said = talk("")
    assert code == 1 and len(said) == 1
    assert said[0].startswith("error: run first is not trained yet: found no results/small/train/")
    trained(project.folder)
    with a_start_at_work(project.folder):
        code, said = talk("where does the boy go?\n/tuned\nwhy?\n", "--config", "talk=first")
    assert code == 0, said
    answers = [line.partition("> ")[0] for line in said if "> " in line]
    assert answers == ["you", "base", "tuned", "you", "you", "tuned"]
    assert not list((project.folder / "results/small").glob("config.yaml")), "nothing is written"
    with a_start_at_work(project.folder):
        told = project.snakemake("check", "--configfile", "small.yaml", **LINES)
    assert told.returncode == 0 and "another start works in this folder" in told.stdout
    assert "~" in told.stdout and not (project.folder / "results/small/data").exists()


def trained(folder: Path) -> None:
    """What a training of the run `first` leaves that a chat reads."""
    run, models = folder / "results/small/train/first", folder / "results/small/models"
    model = AutoModelForCausalLM.from_pretrained(folder / "data/demo/model")
    get_peft_model(model, LoraConfig(target_modules="all-linear")).save_pretrained(run / "final")
    (run / "train_meta.json").write_text("{}")
    models.mkdir()
    (models / "tiny.pin.json").write_text('{"commit": null}')


def test_a_dry_run_takes_no_locks_away(project: Project) -> None:
    """Those of a start that was killed: the next start does."""
    locks = project.folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/demo/report.html\n")
    (project.folder / ".snakemake/alive").write_text(f"{socket.gethostname()} here\n")
    planned = project.snakemake("-n", "--", QUIZ, **LINES)
    assert planned.returncode == 0 and list(locks.iterdir())
    assert "the start before was killed; the next one goes on where it was" in planned.stdout
    assert "cannot be locked" not in planned.stdout
