# Needs: the models under `models` of the config, in folders or on the hub.
# Makes: models/{model}.pin.json, which files a model is; models/{model}.json, what it is, once it was
# checked; models/{model}.gguf.json, that its runs can be exported; environment.json, what it runs on.

from snaketune.plan.protocols import (
    is_reward_model,
    needs_chat,
    needs_thoughts,
    training_methods,
)


rule pin_model:
    """Fetches a model and notes its commit: what takes a model takes it at this one. What is asked
    of the model plays no part, so that a check runs again without anything behind it."""
    output:
        ensure(f"{E}/models/{{model}}.pin.json", non_empty=True),
    log:
        f"{E}/logs/pin_model/{{model}}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        identity=lambda wildcards: LOOKUP.pinned_identity(wildcards.model),
        model=lambda wildcards, output: LOOKUP.model_settings(wildcards.model),
        version=step_version("pin_model"),
        made_by=made("pin_model"),
    script:
        "../workflow/scripts/pin_model.py"


rule model:
    """Checks that a model can be used (safetensors, end token, chat template) and trained by the
    presets of its runs, and records it."""
    input:
        pin=f"{E}/models/{{model}}.pin.json",
    output:
        ensure(f"{E}/models/{{model}}.json", non_empty=True),
    log:
        f"{E}/logs/model/{{model}}.log",
    retries: 0
    conda:
        "../envs/train.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        identity=lambda wildcards: LOOKUP.model_identity(wildcards.model),
        model=lambda wildcards, output: LOOKUP.model_settings(wildcards.model),
        chat=lambda wildcards: needs_chat(EXPERIMENT, wildcards.model),
        thoughts=lambda wildcards: needs_thoughts(EXPERIMENT, wildcards.model),
        methods=lambda wildcards: training_methods(EXPERIMENT, wildcards.model),
        kind=lambda wildcards: (
            "reward" if is_reward_model(EXPERIMENT, wildcards.model) else "causal"
        ),
        version=step_version("check_model"),
        made_by=made("check_model"),
    script:
        "../workflow/scripts/check_model.py"


rule gguf_model:
    """Checks that what is trained on a model can be written as a file for llama.cpp: its family,
    its settings and its tokenizer."""
    input:
        pin=f"{E}/models/{{model}}.pin.json",
    output:
        ensure(f"{E}/models/{{model}}.gguf.json", non_empty=True),
    log:
        f"{E}/logs/gguf_model/{{model}}.log",
    retries: 0
    conda:
        "../envs/gguf.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        identity=lambda wildcards: LOOKUP.model_identity(wildcards.model),
        model=lambda wildcards, output: LOOKUP.model_settings(wildcards.model),
        version=step_version("check_gguf"),
        made_by=made("check_gguf"),
    script:
        "../workflow/scripts/check_gguf.py"


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
        version=step_version("environment"),
        made_by=made("environment"),
    script:
        "../workflow/scripts/environment.py"
