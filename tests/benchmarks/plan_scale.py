"""The plan of a sweep of 1,000 runs × 5 evals against bare Snakefiles with as many jobs.

python tests/benchmarks/plan_scale.py [--runs 1000] [--rounds 3]

`bare` has five rules of nothing but files and a shell command. `bare with directives` gives them
what ours have of Snakemake's own (script, conda, resources that grow, params by function, logs,
benchmarks), so that what is left is our library and our files. Planning is work on one core, so
what counts is its processor time, which other work on the machine disturbs least.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from summary import ROOT, Entry, record

BARE = """
RUNS = [f"r{i}" for i in range(int(config["runs"]))]
EVALS = [f"e{i}" for i in range(5)]
rule all:
    input:
        "tables.csv"
rule prepare:
    output: "data.parquet"
    @
rule train:
    input: "data.parquet"
    output: "train/{run}.safetensors"
    @
rule generate:
    input: "train/{run}.safetensors", "data.parquet"
    output: "predictions/{run}/{eval}.jsonl"
    @
rule measure:
    input: "predictions/{run}/{eval}.jsonl", "data.parquet"
    output: "metrics/{run}/{eval}.json"
    @
rule aggregate:
    input: expand("metrics/{run}/{eval}.json", run=["base", *RUNS], eval=EVALS)
    output: "tables.csv"
    @
"""
SHELL = 'shell: "touch {output}"'
DIRECTIVES = """log: "logs/RULE/WILD.log"
    benchmark: "benchmarks/RULE/WILD.jsonl"
    conda: "env.yaml"
    threads: 8
    resources:
        gpu=1,
        mem=lambda wildcards, attempt: f"{16 * attempt}GB",
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        model=lambda wildcards: {"id": "x", "revision": None},
        content=lambda wildcards: "",
        quantisation=lambda wildcards: "nf4",
        weights=lambda wildcards: "adapter",
        protocol=lambda wildcards: {"task": "math"},
        work=lambda wildcards: "work",
        code="0123",
    script: "job.py"
"""


PLAN = ("-n", "--cores", "2", "--resources", "gpu=1")
READ = ("--list-rules",)
"""What every submitted job does again: no more than reading the Snakefile."""


@dataclass(frozen=True)
class Planned:
    """What a dry run, or reading the Snakefile, took and how many jobs it planned."""

    seconds: float
    """Processor time."""
    megabytes: float
    jobs: int


def plan(folder: Path, *arguments: str) -> Planned:
    """Snakemake in a process of its own."""
    command = [sys.executable, "-m", "snakemake"]
    file = folder / "plan.txt"
    with file.open("w") as out:
        process = subprocess.Popen([*command, *arguments], stdout=out, stderr=out, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the dry run failed:\n{file.read_text()[-3000:]}")
    # Our listing's first line, or the end of Snakemake's table.
    total = re.search(r"^(?=\d+ jobs:|total )\D*(\d+)", file.read_text(), re.MULTILINE)
    jobs = int(total[1]) if total else 0
    return Planned(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, jobs)


def sweep(folder: Path, runs: int) -> Path:
    """An experiment of so many runs by one sweep, under five evals."""
    config = {
        "experiment": "sweep",
        "output": str(folder / "results"),
        "models": {"base": {"id": "owner/model"}},
        "datasets": {"problems": {"source": "data/demo/math", "format": "gsm8k"}},
        "presets": {"preset": {"method": "qlora"}},
        "evals": {
            f"shown_{k}": {"task": "math", "dataset": "problems", "few_shot": k} for k in range(5)
        },
        "runs": {
            "run": {
                "model": "base",
                "preset": "preset",
                "train": "problems",
                "sweep": {
                    "learning_rate": [k * 1e-5 for k in range(1, 11)],
                    "lora.r": [1, 2, 4, 8, 12, 16, 24, 32, 48, 64],
                    "seed": list(range(runs // 100)),
                },
            }
        },
    }
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def bare(folder: Path, name: str, body: str) -> list[str]:
    """A Snakefile whose rules all have `body`; the arguments that plan it."""
    (folder / name).mkdir()
    (folder / name / "env.yaml").write_text("dependencies: [python]\n")
    (folder / name / "job.py").write_text("")
    text = ""
    for rule in BARE.split("rule "):
        output = re.search(r'output: "(.*?)\.\w+"', rule)
        own = body.replace("RULE", rule.partition(":")[0])
        text += "rule " * bool(text) + rule.replace(
            "@", own.replace("WILD", output[1] if output else "")
        )
    (folder / name / "Snakefile").write_text(text)
    return ["-s", str(folder / name / "Snakefile"), "--directory", str(folder / name), "--config"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="a multiple of 100")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = ["--configfile", str(sweep(folder, options.runs))]
        tenth = folder / "tenth"
        tenth.mkdir()
        tenth_of_ours = ["--configfile", str(sweep(tenth, max(100, options.runs // 10)))]
        plain = [*bare(folder, "bare", SHELL), f"runs={options.runs}"]
        sides = {
            "ours": [*PLAN, *ours],
            "bare": [*PLAN, *plain],
            "directives": [*PLAN, *bare(folder, "directives", DIRECTIVES), f"runs={options.runs}"],
            "tenth": [*PLAN, *tenth_of_ours],
            "batch": [*PLAN, *ours, "--batch", "aggregate=1/10"],
            "read": [*READ, *tenth_of_ours],
            "read bare": [*READ, *plain],
        }
        found: dict[str, list[Planned]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side, arguments in sides.items():
                found[side].append(planned := plan(folder, *arguments))
                print(f"round {number + 1}: {side}: {planned}", flush=True)
    seconds = {side: statistics.median(p.seconds for p in all_) for side, all_ in found.items()}
    first = {side: all_[0] for side, all_ in found.items()}
    jobs = f"{options.runs:,} runs x 5 evals"
    per_job = {side: seconds[side] / all_.jobs * 1000 for side, all_ in first.items() if all_.jobs}
    beyond = {
        side: (seconds[side] - seconds[read]) / first[side].jobs * 1000
        for side, read in (("tenth", "read"), ("bare", "read bare"))
    }
    record(
        [
            Entry(f"plan of {jobs} against a bare Snakefile", seconds["ours"], seconds["bare"],
                  "s", 1.5, "lower"),
            Entry(f"plan of {jobs} against the same directives without the library",
                  seconds["ours"], seconds["directives"], "s", 1.5, "lower"),
            Entry(f"plan of {jobs}: memory against a bare Snakefile", first["ours"].megabytes,
                  first["bare"].megabytes, "MB", 2.0, "lower"),
            Entry("plan: time a job, 1,000 runs against 100", per_job["ours"], per_job["tenth"],
                  "ms", 1.1, "lower"),
            Entry(f"plan of {jobs}: a tenth of them with --batch", seconds["batch"],
                  seconds["ours"], "s", 1.0, "lower"),
            Entry("plan: a job beyond reading the Snakefile, against a bare one's",
                  beyond["tenth"], beyond["bare"], "ms", 1.6, "lower"),
            Entry("plan: reading the Snakefile of 100 runs against a bare one",
                  seconds["read"], seconds["read bare"], "s", 1.45, "lower"),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
