# Needs: the models under `models` of the config, in folders or on the hub.
# Makes: models/{model}.json, what each is, once it was checked; environment.json, what it runs on.


rule model:
    """Checks that a model can be used (safetensors, end token, chat template) and records it."""
    input:
        files=lambda wildcards: model_files(wildcards.model),
    output:
        ensure(f"{E}/models/{{model}}.json", non_empty=True),
    log:
        f"{E}/logs/model/{{model}}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        model=lambda wildcards: model_params(wildcards.model),
        content=lambda wildcards: model_content(wildcards.model),
        chat=lambda wildcards: asked_in_chat(EXPERIMENT, wildcards.model),
        kind=lambda wildcards: (
            "reward" if is_reward_model(EXPERIMENT, wildcards.model) else "causal"
        ),
        code=code_of("resolve_model.py"),
    script:
        "../workflow/scripts/resolve_model.py"


rule environment:
    """Records device, memory and library versions."""
    output:
        ensure(f"{E}/environment.json", non_empty=True),
    log:
        f"{E}/logs/environment.log",
    conda:
        "../envs/train.yaml"
    resources:
        gpu=ONE_GPU,
        mem=gigabytes(4),
        runtime=minutes(10),
    params:
        code=code_of("environment.py"),
    script:
        "../workflow/scripts/environment.py"
