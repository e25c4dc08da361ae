# Needs: the config; of data and models what lies in files here. No GPU.
# Makes: nothing that counts: `check` says the plan in words, `preview` shows training rows, in the
# terminal and in preview.html. Both speak at every call; neither is part of `all`.

from snaketune.plan.overview import known_here, overview

LEARNED = sorted({*PLAN.run_tokens.values()})


localrules:
    check,
    preview,


rule check:
    """What is trained and asked, on how much, whether it fits a GPU and how long it takes there,
    what is lost on the way and what so many rows can show."""
    input:
        known_here(EXPERIMENT, PLAN),
    log:
        f"{E}/logs/check.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    params:
        # Looked up again when what it reads is there.
        told=lambda wildcards, input: overview(EXPERIMENT, PLAN, Path(E), plan_notes()),
    script:
        "../workflow/scripts/check.py"


rule preview:
    """Rendered training rows with the trained tokens marked."""
    input:
        rows=expand(f"{E}/tokens/{{tokens}}/train.parquet", tokens=LEARNED),
        pins=[model_pin(shown_tokens(tokens)["name"]) for tokens in LEARNED],
    log:
        f"{E}/logs/preview.log",
    retries: 0
    conda:
        "../envs/train.yaml"
    params:
        sets=[shown_tokens(tokens) for tokens in LEARNED],
        experiment=Path(E).name,
        page=f"{E}/preview.html",
    script:
        "../workflow/scripts/preview.py"
