# Needs: predictions of a safety eval, its prompts, the guideline and the judge model.
# Makes: verdicts/{state}/{protocol}.jsonl, the judge's own words about each reply.

from snaketune.runtime.content import content_hash

JUDGES = {name: spec.judge for name, spec in PLAN.protocols.items() if spec.judge}
JUDGED_ON_VLLM = [name for name, judge in JUDGES.items() if judge.backend == "vllm"]


rule judge:
    """Asks the judge model for a verdict on every reply that isn't empty."""
    input:
        predictions=predictions_of,
        examples=examples_of,
        pin=lambda wildcards: model_pin(protocol_of(wildcards).judge.model),
    output:
        verdicts=ensure(f"{E}/verdicts/{{state}}/{{protocol}}.jsonl", non_empty=True),
        meta=ensure(f"{E}/verdicts/{{state}}/{{protocol}}.meta.json", non_empty=True),
    log:
        f"{E}/logs/judge/{{state}}/{{protocol}}.log",
    benchmark:
        f"{E}/benchmarks/judge/{{state}}/{{protocol}}.jsonl"
    wildcard_constraints:
        protocol=name_pattern(set(JUDGES) - {*JUDGED_ON_VLLM}),
    conda:
        "../envs/train.yaml"
    threads: THREADS
    resources:
        **FOR_HELPER,
        gpu=ONE_GPU,
    params:
        identity=lambda wildcards: LOOKUP.state_identity(LOOKUP.judging_state(wildcards.protocol)),
        state=lambda wildcards, output: LOOKUP.state_settings(
            LOOKUP.judging_state(wildcards.protocol)
        ),
        judge=lambda wildcards: protocol_of(wildcards).judge.asked(),
        # By content, not by place.
        guideline=lambda wildcards: content_hash(LOOKUP.guideline(wildcards.protocol)),
        guideline_file=lambda wildcards, output: str(LOOKUP.guideline(wildcards.protocol)),
        batch_size=lambda wildcards: protocol_of(wildcards).batch_size,
        reply_prefix=lambda wildcards: protocol_of(wildcards).reply_prefix,
        work=f"{E}/.work/judge/{{state}}/{{protocol}}",
        version=step_version("judge"),
        made_by=made("judge"),
    script:
        "../workflow/scripts/judge.py"


use rule judge as judge_vllm with:
    wildcard_constraints:
        protocol=name_pattern(JUDGED_ON_VLLM),
    conda:
        "../envs/vllm.yaml"
