# Needs: examples, few-shot examples, the base model and the state's adapter.
# Makes: predictions/{state}/{protocol}.jsonl, a line an example, and how they were made: replies,
# or for multiple choice and classification the log-probabilities of the options; of samples also
# rewards/{state}/{protocol}.jsonl.

from snaketune.plan.protocols import class_labels, most_samples, reward_model
from snaketune.plan.states import part_numbers
from snaketune.prompts.wording import generation_protocol, options_protocol
from snaketune.runtime.content import content_hash

SCORED = [name for name, spec in PLAN.protocols.items() if not spec.generates]
GENERATED = [name for name, spec in PLAN.protocols.items() if spec.generates]
REWARDED = [name for name, spec in PLAN.protocols.items() if reward_model(spec)]
SHARDED = [name for name, spec in PLAN.protocols.items() if spec.shards > 1]
ON_VLLM = [name for name in GENERATED if PLAN.protocols[name].backend == "vllm"]
EXPORTED = PLAN.exported_states
LOADED = [name for name in PLAN.states if name not in EXPORTED]


rule generate:
    """Greedy replies of one state under one protocol; goes on where a killed job stopped."""
    input:
        examples=examples_of,
        few_shot=lambda wildcards: LOOKUP.few_shot_file(wildcards.protocol),
        weights=weights_of_state,
        pin=lambda wildcards: model_pin(PLAN.states[wildcards.state].model),
    output:
        predictions=ensure(f"{E}/predictions/{{state}}/{{protocol}}.jsonl", non_empty=True),
        meta=ensure(f"{E}/predictions/{{state}}/{{protocol}}.meta.json", non_empty=True),
    log:
        f"{E}/logs/generate/{{state}}/{{protocol}}.log",
    benchmark:
        f"{E}/benchmarks/generate/{{state}}/{{protocol}}.jsonl"
    wildcard_constraints:
        protocol=name_pattern(set(GENERATED) - {*SHARDED, *ON_VLLM}),
        state=name_pattern(LOADED),
    conda:
        "../envs/train.yaml"
    threads: THREADS
    resources:
        **FOR_EVALUATION,
        gpu=ONE_GPU,
    params:
        identity=lambda wildcards: LOOKUP.state_identity(PLAN.states[wildcards.state]),
        state=lambda wildcards, output: LOOKUP.state_settings(PLAN.states[wildcards.state]),
        protocol=lambda wildcards: generation_protocol(protocol_of(wildcards)),
        work=f"{E}/.work/generate/{{state}}/{{protocol}}",
        version=step_version("generate"),
        made_by=made("generate"),
    script:
        "../workflow/scripts/generate.py"


use rule generate as generate_vllm with:
    wildcard_constraints:
        protocol=name_pattern(set(ON_VLLM) - {*SHARDED}),
        state=name_pattern(LOADED),
    conda:
        "../envs/vllm.yaml"


use rule generate as generate_shard with:
    output:
        predictions=temp(f"{E}/predictions/{{state}}/{{protocol}}.shards/{{shard}}.jsonl"),
        meta=temp(f"{E}/predictions/{{state}}/{{protocol}}.shards/{{shard}}.meta.json"),
    log:
        f"{E}/logs/generate/{{state}}/{{protocol}}/{{shard}}.log",
    benchmark:
        f"{E}/benchmarks/generate/{{state}}/{{protocol}}/{{shard}}.jsonl"
    wildcard_constraints:
        protocol=name_pattern({*SHARDED} & {*GENERATED} - {*ON_VLLM}),
        state=name_pattern(LOADED),
        shard="[0-9]+of[0-9]+",
    params:
        shard=lambda wildcards: part_numbers(wildcards.shard),


use rule generate_shard as generate_shard_vllm with:
    wildcard_constraints:
        protocol=name_pattern({*SHARDED} & {*ON_VLLM}),
        state=name_pattern(LOADED),
        shard="[0-9]+of[0-9]+",
    conda:
        "../envs/vllm.yaml"


use rule generate as generate_gguf with:
    wildcard_constraints:
        protocol=name_pattern(set(GENERATED) - {*SHARDED}),
        state=name_pattern(EXPORTED),
    conda:
        "../envs/gguf.yaml"


use rule generate_shard as generate_shard_gguf with:
    wildcard_constraints:
        protocol=name_pattern({*SHARDED} & {*GENERATED}),
        state=name_pattern(EXPORTED),
        shard="[0-9]+of[0-9]+",
    conda:
        "../envs/gguf.yaml"


rule join_shards:
    """Joins the parts of an eval that ran as several jobs, in the examples' order."""
    input:
        parts=lambda wildcards: LOOKUP.shards(cell_of(wildcards), "jsonl"),
        metas=lambda wildcards: LOOKUP.shards(cell_of(wildcards), "meta.json"),
    output:
        joined=ensure(f"{E}/predictions/{{state}}/{{protocol}}.jsonl", non_empty=True),
        meta=ensure(f"{E}/predictions/{{state}}/{{protocol}}.meta.json", non_empty=True),
    log:
        f"{E}/logs/join_shards/{{state}}/{{protocol}}.log",
    wildcard_constraints:
        protocol=name_pattern(SHARDED),
        state=name_pattern(PLAN.states),
    retries: 0
    conda:
        "../envs/data.yaml"
    params:
        version=step_version("join_shards"),
        made_by=made("join_shards"),
    script:
        "../workflow/scripts/join_shards.py"


rule score_options:
    """Log-probabilities of the options of every question; goes on where a killed job stopped."""
    input:
        examples=examples_of,
        few_shot=lambda wildcards: LOOKUP.few_shot_file(wildcards.protocol),
        weights=weights_of_state,
        pin=lambda wildcards: model_pin(PLAN.states[wildcards.state].model),
    output:
        scores=ensure(f"{E}/predictions/{{state}}/{{protocol}}.jsonl", non_empty=True),
        meta=ensure(f"{E}/predictions/{{state}}/{{protocol}}.meta.json", non_empty=True),
    log:
        f"{E}/logs/score_options/{{state}}/{{protocol}}.log",
    benchmark:
        f"{E}/benchmarks/score_options/{{state}}/{{protocol}}.jsonl"
    wildcard_constraints:
        protocol=name_pattern(set(SCORED) - {*SHARDED}),
        state=name_pattern(LOADED),
    conda:
        "../envs/train.yaml"
    threads: THREADS
    resources:
        **FOR_EVALUATION,
        gpu=ONE_GPU,
    params:
        identity=lambda wildcards: LOOKUP.state_identity(PLAN.states[wildcards.state]),
        state=lambda wildcards, output: LOOKUP.state_settings(PLAN.states[wildcards.state]),
        protocol=lambda wildcards: options_protocol(protocol_of(wildcards)),
        work=f"{E}/.work/score_options/{{state}}/{{protocol}}",
        version=step_version("score_options"),
        made_by=made("score_options"),
    script:
        "../workflow/scripts/score_options.py"


use rule score_options as score_options_shard with:
    output:
        scores=temp(f"{E}/predictions/{{state}}/{{protocol}}.shards/{{shard}}.jsonl"),
        meta=temp(f"{E}/predictions/{{state}}/{{protocol}}.shards/{{shard}}.meta.json"),
    log:
        f"{E}/logs/score_options/{{state}}/{{protocol}}/{{shard}}.log",
    benchmark:
        f"{E}/benchmarks/score_options/{{state}}/{{protocol}}/{{shard}}.jsonl"
    wildcard_constraints:
        protocol=name_pattern({*SHARDED} & {*SCORED}),
        state=name_pattern(LOADED),
        shard="[0-9]+of[0-9]+",
    params:
        shard=lambda wildcards: part_numbers(wildcards.shard),


use rule score_options as score_options_gguf with:
    wildcard_constraints:
        protocol=name_pattern(set(SCORED) - {*SHARDED}),
        state=name_pattern(EXPORTED),
    conda:
        "../envs/gguf.yaml"


use rule score_options_shard as score_options_shard_gguf with:
    wildcard_constraints:
        protocol=name_pattern({*SHARDED} & {*SCORED}),
        state=name_pattern(EXPORTED),
        shard="[0-9]+of[0-9]+",
    conda:
        "../envs/gguf.yaml"


rule score_rewards:
    """A reward model's scores of all samples; goes on where a killed job stopped."""
    input:
        predictions=predictions_of,
        examples=examples_of,
        pin=lambda wildcards: model_pin(reward_model(protocol_of(wildcards))),
    output:
        rewards=ensure(f"{E}/rewards/{{state}}/{{protocol}}.jsonl", non_empty=True),
        meta=ensure(f"{E}/rewards/{{state}}/{{protocol}}.meta.json", non_empty=True),
    log:
        f"{E}/logs/score_rewards/{{state}}/{{protocol}}.log",
    benchmark:
        f"{E}/benchmarks/score_rewards/{{state}}/{{protocol}}.jsonl"
    wildcard_constraints:
        protocol=name_pattern(REWARDED),
    conda:
        "../envs/train.yaml"
    threads: THREADS
    resources:
        **FOR_HELPER,
        gpu=ONE_GPU,
    params:
        identity=lambda wildcards: LOOKUP.state_identity(LOOKUP.rewarding_state(wildcards.protocol)),
        state=lambda wildcards, output: LOOKUP.state_settings(
            LOOKUP.rewarding_state(wildcards.protocol)
        ),
        reply_prefix=lambda wildcards: protocol_of(wildcards).reply_prefix,
        work=f"{E}/.work/score_rewards/{{state}}/{{protocol}}",
        version=step_version("score_rewards"),
        made_by=made("score_rewards"),
    script:
        "../workflow/scripts/score_rewards.py"


rule bring:
    """Takes predictions that were made elsewhere, and checks them against the examples."""
    input:
        examples=examples_of,
        report=lambda wildcards: examples_of(wildcards).replace(".parquet", ".json"),
    output:
        predictions=ensure(f"{E}/predictions/{{state}}/{{protocol}}.jsonl", non_empty=True),
        meta=ensure(f"{E}/predictions/{{state}}/{{protocol}}.meta.json", non_empty=True),
    log:
        f"{E}/logs/bring/{{state}}/{{protocol}}.log",
    wildcard_constraints:
        state=name_pattern(PLAN.brought_states),
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        # By content, not by place.
        content=lambda wildcards: content_hash(Path(PLAN.brought[cell_of(wildcards)])),
        file=lambda wildcards, output: PLAN.brought[cell_of(wildcards)],
        task=lambda wildcards: protocol_of(wildcards).task,
        sample=lambda wildcards: protocol_of(wildcards).model_dump(mode="json")["sample"],
        labels=lambda wildcards: class_labels(protocol_of(wildcards)),
        largest=lambda wildcards: most_samples(protocol_of(wildcards)),
        version=step_version("bring"),
        made_by=made("bring"),
    script:
        "../workflow/scripts/bring.py"
