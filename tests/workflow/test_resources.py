"""What jobs ask for, as a dry run shows it."""

import re

from conftest import Project
from project_copy import ROOT


def asked(project: Project, *arguments: str) -> dict[str, list[tuple[str, int, int, int, int]]]:
    """By rule, of each job: what its wildcards are, GPUs, MB of memory, minutes and the limit."""
    jobs: dict[str, list] = {}
    for rule, lines in project.planned(*arguments).items():
        wildcards = [line.partition(": ")[2] for line in lines if line.startswith("wildcards")]
        resources = [line for line in lines if line.startswith("resources")]
        figures = [
            tuple(int((re.search(rf"\b{name}=(\d+)", line) or [0, 0])[1]) for name in
                  ("gpu", "mem_mb", "runtime", "limit"))
            for line in resources
        ]  # fmt: skip
        jobs[rule] = [(w, *f) for w, f in zip(wildcards, figures, strict=True)] if wildcards else []
    return jobs


def test_all_jobs_of_a_run_take_its_own_resources(project: Project) -> None:
    own = "runs={simple: {resources: {memory_gb: 77, minutes: 99}}}"
    jobs = asked(project, "--config", own)
    for rule in ("train_adapter_0", "generate", "judge"):
        for wildcards, gpu, memory, minutes, limit in jobs[rule]:
            of_run = re.search(r"(run|state)=simple\b", wildcards)
            assert gpu == 1
            assert ((memory, minutes) == (77_000, 99)) == bool(of_run), (rule, wildcards)
            assert limit == (99 if of_run else 0)
        assert any("simple" in wildcards for wildcards, *_ in jobs[rule])


def test_a_training_of_days_takes_the_gpus_that_are_granted(project: Project) -> None:
    """The estimate's eight, clipped; and as much memory as four processes need."""
    long = ["models={tiny: {parameters: 7e9}}", "presets={simple: {epochs: 1000}}"]
    jobs = {}
    for gpus in (1, 4):
        planned = asked(project, "--resources", f"gpu={gpus}", "--config", *long)
        jobs[gpus] = {wildcards: rest for wildcards, *rest in planned["train_adapter_0"]}
    one, four = (jobs[n]["run=simple"] for n in (1, 4))
    assert (one[0], four[0]) == (1, 4)
    assert abs(four[1] - 4 * one[1]) < 4 and four[2] < one[2]


def test_cores_are_shared_out_among_the_gpus(project: Project) -> None:
    machine = ["--cores", "16", "--max-threads", "64", "--resources", "gpu=4"]
    own = "runs={simple: {gpu: 2}}"
    planned = project.planned(*machine, "--config", own)
    threads = {
        rule: {line for line in lines if line.startswith("threads")}
        for rule, lines in planned.items()
    }
    assert threads["generate"] == threads["judge"] == {"threads: 4"}
    assert threads["train_adapter_0"] == {"threads: 4", "threads: 8"}


def test_local_rules_are_tried_again_only_where_the_network_may_be_at_fault() -> None:
    """The SLURM profile retries, for memory and time that these rules lack none of."""
    text = "".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    local = re.search(r"^localrules:\n((?:    \w+,\n)+)", (ROOT / "Snakefile").read_text(), re.M)[1]
    bodies = dict(re.findall(r"^(?:rule|checkpoint) (\w+):\n((?:    .*\n|\n)+)", text, re.M))
    names = [name for name in re.findall(r"\w+", local) if "script:" in bodies.get(name, "")]
    again = {name for name in names if "    retries: 0\n" not in bodies[name]}
    assert len(names) > len(again)
    assert again == {"prepare", "prepare_held_out", "pin_model", "adapter"}
