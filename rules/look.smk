# Needs: the config; of data and models what lies in files here. No GPU.
# Makes: nothing that counts: `check` says the plan in words, `preview` shows training rows, in the
# terminal and in preview.html, `talk` chats with a run. They speak at every call; none is part of
# `all`. Beside a running start they show what is there, make nothing and take no lock.

from snaketune.plan.overview import known_here, overview
from snaketune.plan.states import weights_there
from snaketune.plan.trained_forms import talking_form
from snaketune.runtime.alive import works_beside

LEARNED = sorted({*PLAN.run_tokens.values()})
SHOWN_ROWS = expand(f"{E}/tokens/{{tokens}}/train.parquet", tokens=LEARNED)
SHOWN_PINS = [model_pin(shown_tokens(tokens)["name"]) for tokens in LEARNED]
TALKERS = [n for n, state in PLAN.states.items() if state.run == n and not state.snapshot]


def unless_beside(files: list):
    """To be made first, where nobody else may be making it."""
    return lambda wildcards: [] if works_beside() else files


def check_notes() -> list[str]:
    """What `check` says besides."""
    beside = "another start works in this folder: this tells of what it has prepared so far"
    return [*([beside] if works_beside() else []), *plan_notes()]


def refuse_preview():
    """Raises where rows are not there yet that another start is to make."""
    missing = [file for file in [*SHOWN_ROWS, *SHOWN_PINS] if not Path(file).is_file()]
    if works_beside() and missing:
        raise WorkflowError(
            f"preview: found no {missing[0]} yet, which the start that works in this folder is to "
            "make; try again in a while"
        )


def talker() -> str:
    """The run that is talked with."""
    name = EXPERIMENT.talk or (TALKERS[0] if len(TALKERS) == 1 else None)
    if name not in TALKERS:
        found = name or "no run named"
        found += ", whose predictions were made elsewhere" if name in EXPERIMENT.runs else ""
        known = ", ".join(TALKERS) or "there is none"
        raise UserError(f"talk: found {found}, expected --config talk=RUN, one of: {known}")
    return name


def talked_files() -> list[str]:
    """The weights of the run that is talked with, and where its base's commit is noted."""
    name = talker()
    run, pin = EXPERIMENT.runs[name], model_pin(EXPERIMENT.runs[name].model)
    files = weights_there(E, name, run, PLAN.states[name].weights)
    if not Path(pin).is_file():
        raise UserError(f"run {name} was not measured yet: found no {pin}; start the experiment")
    return [*files, pin]


def refuse_talk():
    """Raises where there is nobody to talk with."""
    try:
        talked_files()
    except UserError as error:
        raise WorkflowError(str(error)) from None


REFUSALS = {"preview": refuse_preview, "talk": refuse_talk}


localrules:
    check,
    preview,
    talk,


rule check:
    """What is trained and asked, on how much, whether it fits a GPU and how long it takes there,
    what is lost on the way and what so many rows can show."""
    input:
        unless_beside(known_here(EXPERIMENT, PLAN)),
    log:
        f"{E}/logs/check.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    params:
        # Looked up again when what it reads is there.
        told=lambda wildcards, input: overview(EXPERIMENT, PLAN, Path(E), check_notes()),
    script:
        "../workflow/scripts/check.py"


rule preview:
    """Rendered training rows with the trained tokens marked."""
    input:
        unless_beside([*SHOWN_ROWS, *SHOWN_PINS]),
    log:
        f"{E}/logs/preview.log",
    retries: 0
    conda:
        "../envs/train.yaml"
    params:
        sets=[shown_tokens(tokens) for tokens in LEARNED],
        rows=SHOWN_ROWS,
        pins=SHOWN_PINS,
        experiment=Path(E).name,
        page=f"{E}/preview.html",
    script:
        "../workflow/scripts/preview.py"


rule talk:
    """A chat with a run and its base, as they lie there: nothing is made for it."""
    log:
        f"{E}/logs/talk.log",
    retries: 0
    conda:
        "../envs/train.yaml"
    threads: THREADS
    params:
        run=lambda wildcards: talker(),
        state=lambda wildcards: LOOKUP.state_settings(PLAN.states[talker()]),
        files=lambda wildcards: talked_files()[:-1],
        pin=lambda wildcards: talked_files()[-1],
        form=lambda wildcards: talking_form(EXPERIMENT, PLAN, talker()),
        beside_base=lambda wildcards: not EXPERIMENT.runs[talker()].alone,
        # Beside a start its jobs have the GPUs, unless one is granted to this.
        gpu=lambda wildcards: 0 if GPUS is None and works_beside() else ONE_GPU,
    script:
        "../workflow/scripts/talk.py"
