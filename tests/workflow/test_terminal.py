"""What a start says in the terminal, by the plain command."""

import os
import subprocess
import sys
from importlib.util import find_spec

from conftest import Project

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
    assert "first on tiny" in said("preview"), "at every call"
    assert not (project.folder / "results/small/train").exists(), "nothing is trained"
