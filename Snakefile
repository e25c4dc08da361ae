# snaketune: fine-tune language models with QLoRA and evaluate them before and after.
# Results lie under {output}/{experiment}/; config/README.md describes every key.

import gc
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.0")

# A plan is many objects that stay. Going through all of them for garbage, as often as Python does
# by itself, takes an eighth of its time and finds nothing.
gc.set_threshold(200_000)

# As a module from a git repository (`gitfile`, `github`, …) the workflow is no folder. Snakemake
# fetches the files that it reads itself, but scripts import a whole library: it is checked out.
HERE = workflow.current_basedir
if hasattr(HERE, "__fspath__"):
    HERE = Path(HERE)
elif not hasattr(HERE, "ref"):
    raise WorkflowError(f"{HERE}: expected a folder, or `gitfile` or `github` in the module")
else:
    repository = getattr(HERE, "repo_path", None) or HERE.hosted_repo.repo_clone
    git = ["git", "-C", str(repository)]
    head = subprocess.check_output([*git, "rev-parse", f"{HERE.ref}^{{commit}}"], text=True)
    HERE = Path(workflow.sourcecache.cache_path) / "snaketune" / head.strip()
    HERE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE.parent) as new:
        if not HERE.is_dir():
            subprocess.check_call([*git, "archive", f"--output={new}/all.tar", head.strip()])
            shutil.unpack_archive(f"{new}/all.tar", f"{new}/all")
            with suppress(OSError):  # of two processes at once the first wins
                Path(new, "all").rename(HERE)

sys.path.append(str(HERE / "workflow" / "scripts"))
from snaketune.config.base import own_file
from snaketune.config.changes import drawn_notes, smoke_notes, with_test_splits
from snaketune.config.faults import require_yaml
from snaketune.config.read import load_experiment, write_resolved
from snaketune.config.checks import data_files
from snaketune.plan.experiment_plan import make_plan, tokens_in_words
from snaketune.plan.resources import check_gpus, gpus_at_once, with_gpus, write_requests
from snaketune.plan.slurm_site import check_site, profile_names, submitted_jobs
from snaketune.plan.trained_forms import prompt_notes
from snaketune.runtime.alive import leave_ctrl_c_to_jobs, note_place, stop_jobs_too
from snaketune.runtime.errors import UserError
from snaketune.runtime.listing import interrupted, jobs_are_quiet, take_over
from snaketune.runtime.start import (
    LOOKS,
    ask_before_planning,
    code_notes,
    kept_notes,
    only_looks,
    power_notes,
    require_answerers,
    restrict,
    trackers_of,
)
from snaketune.runtime.workfolder import begin, remove_set_aside
from snaketune.tables.terminal import summary_of
from snaketune.training.tracking import require_trackers

# What a start says in the terminal, unless this is a module, whose main workflow says it.
NAMES = {}
IS_MAIN = Path(str(workflow.main_snakefile)).resolve().is_relative_to(Path(str(HERE)).resolve())
LISTING = take_over(logger, workflow, NAMES) if IS_MAIN else None
if LISTING:
    sys.excepthook = interrupted

if "experiment" not in config and not workflow.configfiles:
    try:
        require_yaml(Path(own_file("config/config.yaml")))
    except UserError as error:
        raise WorkflowError(str(error)) from None

    configfile: own_file("config/config.yaml")


try:
    CONFIG_FILES = [Path(f) for f in workflow.configfiles]
    WRITTEN = load_experiment(config, CONFIG_FILES)
    data_files(WRITTEN, CONFIG_FILES)
    CONFIGURED = with_test_splits(WRITTEN)
    PLAN = make_plan(CONFIGURED)
    limit = workflow.global_resources.get("gpu")
    GPUS = gpus_at_once(limit.value if limit else None, workflow.is_main_process)
    # A job that parses this again was granted its share already.
    if workflow.is_main_process:
        check_gpus(CONFIGURED, GPUS, CONFIG_FILES)
    EXPERIMENT = with_gpus(CONFIGURED, GPUS)
except UserError as error:
    raise WorkflowError(str(error)) from None

E = EXPERIMENT.folder
NAMES |= tokens_in_words(PLAN)

# A warning before a job's end (see snaketune.runtime.job) reaches every process of it. The shell around
# a script and the Snakemake around that must not die of it while the script saves.
shell.prefix("set -euo pipefail; trap : TERM USR1 INT HUP; ")
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


wildcard_constraints:
    dataset="[A-Za-z][A-Za-z0-9_]*",
    model="[A-Za-z][A-Za-z0-9_]*",
    run="[A-Za-z][A-Za-z0-9_]*",
    snapshot="[0-9]+of[0-9]+",


# Light, or in need of the network: they run where Snakemake runs, on a cluster too. Where neither
# network, memory nor time can be at fault, they fail the same way again: `retries: 0`.
localrules:
    all,
    prepare,
    prepare_held_out,
    few_shot,
    manifest,
    leakage,
    pin_model,
    model,
    gguf_model,
    adapter,
    mix,
    prompts,
    prompts_of_part,
    ready,
    join_shards,
    bring,
    measure,
    choose,
    aggregate,
    report,
    gate,


include: HERE / "rules/common.smk"
include: HERE / "rules/checks.smk"
include: HERE / "rules/prepare.smk"
include: HERE / "rules/models.smk"
include: HERE / "rules/tokenize.smk"
include: HERE / "rules/train.smk"
include: HERE / "rules/generate.smk"
include: HERE / "rules/judge.smk"
include: HERE / "rules/measure.smk"
include: HERE / "rules/aggregate.smk"
include: HERE / "rules/report.smk"
include: HERE / "rules/download.smk"
include: HERE / "rules/publish.smk"
include: HERE / "rules/look_before.smk"
include: HERE / "rules/look.smk"
include: HERE / "rules/demo.smk"


# The default target: every table and the report, and whatever else is to be there.
rule all:
    default_target: True
    input:
        rules.ready.input,
        [file for run in TRAINED for file in LOOKUP.training_outputs(run)],
        [str(file) for file in [*rules.aggregate.output, *rules.report.output]],


note_signatures(workflow.rules)

if workflow.is_main_process:
    records = RECORDS if EXPERIMENT.code == "strict" else []
    ask_before_planning(workflow, E, records, PARTS, EXPERIMENT.gate.always, REFUSALS)
    # `check` says the notes among the rest.
    if not {"check", "talk"} & {*sys.argv}:
        for note in plan_notes():
            print(f"note: {note}", file=sys.stderr)


onstart:
    if not restrict(workflow, CHECKS, WorkflowError):
        print("note: this version of Snakemake runs checks among other jobs, not before them")
    due = list(workflow.dag.needrun_jobs())
    for job in due:
        if "work" in job.params.keys():
            begin(
                Path(job.params.work),
                job.params.made_by["code"],
                anew=workflow.dag.reason(job).forced,
                strict=EXPERIMENT.code == "strict",
            )
    if workflow.executor_plugin.name == "local":
        stop_jobs_too()
        if {job.rule.name for job in due} == {"talk"}:
            leave_ctrl_c_to_jobs()
        if LISTING:
            jobs_are_quiet()
    elif not only_looks(due):
        note_place("cluster")
    try:
        if not workflow.deployment_settings.deployment_method:
            require_trackers(trackers_of(EXPERIMENT, due))
            require_answerers(PLAN, Path(E), due)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    if workflow.executor_plugin.name == "slurm":
        try:
            check_site(
                submitted_jobs(workflow),
                profile_names(workflow),
                [rule.name for rule in workflow.rules],
            )
        except UserError as error:
            raise WorkflowError(str(error)) from None
    if not only_looks(due):
        write_resolved(CONFIGURED, Path(E) / "config.yaml")
        write_requests(EXPERIMENT, PLAN, Path(E))


onerror:
    if LISTING:
        LISTING.finish()


onsuccess:
    if LISTING:
        LISTING.finish()
    ended = list(workflow.dag.needrun_jobs(False))
    if not only_looks(ended):
        remove_set_aside(Path(E) / ".work")
    if Path(E, FINAL_METRICS).is_file() and not {job.rule.name for job in ended} & LOOKS:
        print(summary_of(Path(E)))
        print(f"Report: {E}/report.html")
