# Needs: the config; of data and models what lies in files here. No GPU.
# Makes: nothing that counts: `check` says the plan in words, `preview` shows training rows, in the
# terminal and in preview.html, `talk` chats with a run. They speak at every call; none is part of
# `all`. Beside a running start they show what is there, make nothing and take no lock.

from snaketune.plan.overview import known_here, overview


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
