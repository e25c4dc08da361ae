# The demo's inputs, made again from seeds.
#
# needs   the default safety guideline
# makes   results/demo_models/: data, the base model, the judge, the reward model, the checker
#
# Nothing else depends on these files: they are made only by `snakemake demo_models`, which copies
# them over the committed ones in data/demo/.


DEMO = "results/demo_models"
DEMO_MATH = ["train", "test", "self_instruct"]


rule demo_data:
    """Math problems in every format, safety prompts, and answers to measure the judge on;
    questions about stories; solutions, right and flawed."""
    output:
        **{name: f"{DEMO}/math/{name}.jsonl" for name in DEMO_MATH},
        json=f"{DEMO}/formats/math_test.json",
        csv=f"{DEMO}/formats/math_test.csv",
        parquet=f"{DEMO}/formats/math_test.parquet",
        folder=directory(f"{DEMO}/formats/math_dataset"),
        prompts=f"{DEMO}/safety/prompts.csv",
        verdicts=f"{DEMO}/safety/judged_answers.jsonl",
        reading_train=f"{DEMO}/reading/train.jsonl",
        reading_test=f"{DEMO}/reading/test.jsonl",
        quiz=f"{DEMO}/reading/quiz.csv",
        verifier=directory(f"{DEMO}/verifier/solutions"),
        catalogue=f"{DEMO}/verifier/catalogue.csv",
    log:
        f"{DEMO}/logs/data.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    params:
        version=step_version("make_demo_data"),
    script:
        "../workflow/scripts/make_demo_data.py"


rule demo_tokenizer:
    """One tokenizer with the chat template of either model."""
    input:
        guideline="config/prompts/safety_guideline.txt",
    output:
        base=directory(f"{DEMO}/tokenizer/base"),
        judge=directory(f"{DEMO}/tokenizer/judge"),
    log:
        f"{DEMO}/logs/tokenizer.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    params:
        vocab_size=2048,
        seed=0,
        version=step_version("make_demo_tokenizer"),
    script:
        "../workflow/scripts/make_demo_tokenizer.py"


rule demo_pretrained:
    """The base model's first stage, from scratch: about ten minutes on two cores."""
    input:
        tokenizer=rules.demo_tokenizer.output.base,
    output:
        folder=directory(f"{DEMO}/pretrained"),
    log:
        f"{DEMO}/logs/pretrained.log",
    conda:
        "../envs/train.yaml"
    threads: 2
    params:
        shape={"layers": 4, "hidden": 128},
        recipe={"steps": 3600, "learning_rate": 2.5e-3, "batch_tokens": 2048, "seed": 0},
        version=step_version("make_demo_pretrained"),
    script:
        "../workflow/scripts/make_demo_pretrained.py"


rule demo_base_model:
    """The base model's second stage, in which it learns to do as it is asked: half a minute."""
    input:
        start=rules.demo_pretrained.output.folder,
    output:
        folder=directory(f"{DEMO}/model"),
    log:
        f"{DEMO}/logs/model.log",
    conda:
        "../envs/train.yaml"
    threads: 2
    params:
        recipe={"steps": 150, "learning_rate": 1e-3, "batch_tokens": 2048, "seed": 3},
        version=step_version("make_demo_model"),
    script:
        "../workflow/scripts/make_demo_model.py"


rule demo_judge:
    """The safety judge, from scratch: about three minutes on two cores."""
    input:
        tokenizer=rules.demo_tokenizer.output.judge,
        guideline="config/prompts/safety_guideline.txt",
    output:
        folder=directory(f"{DEMO}/judge"),
    log:
        f"{DEMO}/logs/judge.log",
    conda:
        "../envs/train.yaml"
    threads: 2
    params:
        shape={"layers": 2, "hidden": 128},
        recipe={"steps": 600, "learning_rate": 2e-3, "batch_tokens": 4096, "seed": 1},
        version=step_version("make_demo_judge"),
    script:
        "../workflow/scripts/make_demo_judge.py"


rule demo_reward_model:
    """The reward model and the checker, from the base model's first stage: about ten minutes on
    two cores."""
    input:
        base=rules.demo_pretrained.output.folder,
    output:
        reward=directory(f"{DEMO}/reward"),
        checker=directory(f"{DEMO}/checker"),
    log:
        f"{DEMO}/logs/reward.log",
    conda:
        "../envs/train.yaml"
    threads: 2
    params:
        more_layers=2,
        recipe={"steps": 1600, "learning_rate": 3e-3, "batch_tokens": 2048, "seed": 2},
        labels={"steps": 60, "learning_rate": 3e-4, "batch_tokens": 2048, "seed": 4},
        version=step_version("make_demo_reward"),
    script:
        "../workflow/scripts/make_demo_reward.py"


rule demo_models:
    """Make all of it and put it where the demo looks. Has no output, so it copies when asked."""
    input:
        data=rules.demo_data.output,
        model=rules.demo_base_model.output.folder,
        judge=rules.demo_judge.output.folder,
        graders=rules.demo_reward_model.output,
    log:
        f"{DEMO}/logs/copy.log",
    localrule: True
    conda:
        "../envs/data.yaml"
    threads: 1
    params:
        made=lambda wildcards, input: str(Path(input.model).parent),
        parts=[
            "math",
            "formats",
            "safety",
            "reading",
            "verifier",
            "model",
            "judge",
            "reward",
            "checker",
        ],
        shipped="data/demo",
    script:
        "../workflow/scripts/ship_demo.py"
