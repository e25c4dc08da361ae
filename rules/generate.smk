# Needs: examples, few-shot examples, the base model and the state's adapter.
# Makes: predictions/{state}/{protocol}.jsonl, a line an example, and how they were made.


def state_weights(wildcards) -> list[str]:
    """What lies on top of the state's base model: the snapshot's, the chosen or the final files."""
    state = PLAN.states[wildcards.state]
    if state.weights == "none":
        return []
    chosen = "chosen" if EXPERIMENT.runs[state.run].choose else "final"
    folder = f"snapshots/{state.snapshot}" if state.snapshot else chosen
    return weights_in(f"{E}/train/{state.run}/{folder}", state.weights)


def examples_of(wildcards) -> str:
    protocol = PLAN.protocols[wildcards.protocol]
    return f"{E}/data/{protocol.dataset}/{protocol.split}.parquet"


def few_shot_of(wildcards) -> list[str]:
    """The few-shot file, where the protocol shows examples."""
    protocol = PLAN.protocols[wildcards.protocol]
    return [f"{E}/data/{protocol.dataset}/few_shot.json"] if protocol.few_shot else []


def state_model(wildcards) -> str:
    return PLAN.states[wildcards.state].model


GENERATION = ("task", "system", "few_shot", "sample", "max_new_tokens", "batch_size")


rule generate:
    """Greedy replies of one state under one protocol; goes on where a killed job stopped."""
    input:
        examples=examples_of,
        few_shot=few_shot_of,
        weights=state_weights,
        files=lambda wildcards: ancient(local_files(EXPERIMENT.models[state_model(wildcards)].id)),
        ready=ancient(f"{E}/ready.json"),
    output:
        predictions=ensure(f"{E}/predictions/{{state}}/{{protocol}}.jsonl", non_empty=True),
        meta=ensure(f"{E}/predictions/{{state}}/{{protocol}}.meta.json", non_empty=True),
    log:
        f"{E}/logs/generate/{{state}}/{{protocol}}.log",
    benchmark:
        f"{E}/benchmarks/generate/{{state}}/{{protocol}}.jsonl"
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        gpu=1,
        mem=memory,
        runtime=minutes,
    params:
        model=lambda wildcards: model_params(state_model(wildcards)),
        content=lambda wildcards: model_content(state_model(wildcards)),
        quantisation=lambda wildcards: PLAN.states[wildcards.state].quantisation,
        weights=lambda wildcards: PLAN.states[wildcards.state].weights,
        protocol=lambda wildcards: PLAN.protocols[wildcards.protocol].model_dump(
            mode="json", include=set(GENERATION)
        ),
        work=lambda wildcards: f"{E}/.work/generate/{wildcards.state}/{wildcards.protocol}",
        code=code_of("generate.py"),
    script:
        "../workflow/scripts/generate.py"
