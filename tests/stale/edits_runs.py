"""Edits of evals and runs: every key at least once."""

from stale.edit import GONE, Edit, Files
from stale.experiment import CONFIG

MATH = "generate:base-tiny/math generate:picked/math generate:picked-*/math-split_dev"


def _key(path: str, value: object, expected: str = "", **further: object) -> Edit:
    return Edit(f"{path}={value}", expected, ((path, value),), **further)


def _shards() -> str:
    lines = []
    for state, weights in (("base-tiny-nf4", ""), ("low", " train:low")):
        parts = [f"generate_shard:{state}/safety/{k}of2" for k in (1, 2)]
        lines += [f"{part} < prepare:prompts/test pin_model:tiny{weights}" for part in parts]
        lines.append(f"join_shards:{state}/safety < {' '.join(parts)}")
        lines.append(f"judge:{state}/safety < join_shards:{state}/safety")
        lines.append(f"measure:{state}/safety < join_shards:{state}/safety")
    return "\n".join(lines)


# An eval that a run changes has a name of its own, and its base is asked in the same way.
_CHANGED = """
generate:base-tiny-nf4/safety-max_new_tokens_5 < prepare:prompts/test pin_model:tiny
generate:low/safety-max_new_tokens_5 < prepare:prompts/test train:low pin_model:tiny
judge:base-tiny-nf4/safety-max_new_tokens_5 < generate:base-tiny-nf4/safety-max_new_tokens_5
  pin_model:judge
judge:low/safety-max_new_tokens_5 < generate:low/safety-max_new_tokens_5 pin_model:judge
measure:base-tiny-nf4/safety-max_new_tokens_5 < judge:base-tiny-nf4/safety-max_new_tokens_5
  prepare:prompts/test
measure:low/safety-max_new_tokens_5 < judge:low/safety-max_new_tokens_5 prepare:prompts/test
"""
_FOLLOWED = """
generate:picked-1of2/math < train:picked prepare:problems/test few_shot:problems pin_model:tiny
generate:picked-2of2/math < train:picked prepare:problems/test few_shot:problems pin_model:tiny
measure:picked-1of2/math < generate:picked-1of2/math prepare:problems/test
measure:picked-2of2/math < generate:picked-2of2/math prepare:problems/test
"""
NEW_RUN = """
train:second < tokenize:low pin_model:tiny
generate:second/safety < prepare:prompts/test train:second pin_model:tiny
judge:second/safety < generate:second/safety prepare:prompts/test pin_model:judge
measure:second/safety < judge:second/safety generate:second/safety prepare:prompts/test
"""
_LOW = CONFIG["runs"]["low"]
SECOND = _LOW | {"seed": 7, "evals": _LOW["evals"] | {"asked": False}}
_SEEDS = "\n".join(
    f"""
train:low_seed_{seed} < tokenize:low pin_model:tiny
generate:low_seed_{seed}/safety < prepare:prompts/test train:low_seed_{seed} pin_model:tiny
judge:low_seed_{seed}/safety < generate:low_seed_{seed}/safety pin_model:judge
measure:low_seed_{seed}/safety < judge:low_seed_{seed}/safety prepare:prompts/test
"""
    for seed in (1, 2)
)
_THIRDS = "\n".join(
    f"""
generate:picked-{k}of3/math-split_dev < train:picked few_shot:problems pin_model:tiny
measure:picked-{k}of3/math-split_dev < generate:picked-{k}of3/math-split_dev
choose:picked < measure:picked-{k}of3/math-split_dev
"""
    for k in (1, 2, 3)
)
_READ = """
generate:base-other/solutions < prepare:solutions/test pin_model:other
generate:whole/solutions < prepare:solutions/test train:whole pin_model:other
measure:base-other/solutions < generate:base-other/solutions
measure:whole/solutions < generate:whole/solutions
"""
_ON_PROBLEMS = """
leakage:problems-reading < prepare_held_out:problems prepare:reading/test
leakage:problems-solutions < prepare_held_out:problems prepare:solutions/test
"""
_MIXED = """
mix:low < tokenize:low
train:low < mix:low
"""
_EXPORTED = """
gguf_model:tiny < pin_model:tiny
merge:low < train:low pin_model:tiny
gguf:low/f16 < merge:low
generate:low-gguf_f16/safety < gguf:low/f16 prepare:prompts/test pin_model:tiny
judge:low-gguf_f16/safety < generate:low-gguf_f16/safety prepare:prompts/test pin_model:judge
measure:low-gguf_f16/safety < judge:low-gguf_f16/safety generate:low-gguf_f16/safety
  prepare:prompts/test
"""
_JOINED = _SEEDS.replace("low_seed_1", "low_seed_42").replace("low_seed_2", "low_seed_43")

EVALS = [
    _key("evals.answers.task", "classification", refused="task classification needs"),
    _key("evals.safety.dataset", "problems", "generate:*/safety",
         removes="leakage:problems-prompts", alone=True),
    _key("evals.samples.split", "dev", "generate:*/samples", alone=True),
    _key("evals.samples.sample.count", 3, "generate:*/samples"),
    _key("evals.samples.sample.seed", 2, "generate:*/samples"),
    _key("evals.quiz.sample", {"fraction": 0.5}, "score_options:*/quiz"),
    # What an eval shows is left out of the training rows of its run.
    _key("evals.math.few_shot", 1, f"{MATH} tokenize:picked train:picked"),
    _key("evals.math.system", "Think.", MATH),
    _key("evals.math.prompt", "Solve: {question}", MATH),
    _key("evals.math.reply_prefix", "Well,", MATH),
    _key("evals.math.max_new_tokens", 5, MATH),
    _key("evals.math.batch_size", 3, MATH),
    _key("evals.math.answer_rule", "final_answer", "measure:*/math measure:*/math-split_dev"),
    _key("evals.answers.chat", False, "generate:*/answers measure:given/answers"),
    _key("evals.answers.template_args", {"a": 1}, "generate:*/answers measure:given/answers"),
    _key("evals.answers.thinking", "off", "generate:*/answers measure:given/answers"),
    _key("evals.answers.thinking.budget", 2,
         "generate:*/answers measure:given/answers model:other"),
    _key("evals.answers.backend", "vllm", "generate:*/answers measure:given/answers"),
    _key("evals.safety.shards", 2, "generate_shard:*", adds=_shards(), removes="generate:*/safety",
         alone=True),
    _key("evals.quiz.options.chat", False, "score_options:*/quiz"),
    _key("evals.quiz.options.line", "{letter}) {option}\n", "score_options:*/quiz"),
    _key("evals.quiz.options.option", "{letter}", "score_options:*/quiz"),
    _key("evals.answers.answers.short_threshold", 3, "measure:*/answers"),
    _key("evals.answers.answers.strict", False, "measure:*/answers"),
    # As the dataset has them.
    _key("evals.solutions.classes.labels", ["right", "wrong"]),
    _key("evals.solutions.classes.names", {"right": "Right"}, "measure:*/solutions"),
    _key("evals.solutions.classes.positive", "right", "measure:*/solutions"),
    _key("evals.solutions.classes.by", GONE, "measure:*/solutions"),
    _key("evals.solutions.classes.read", "text", "generate:*/solutions", adds=_READ,
         removes="score_options:*/solutions", alone=True),
    # Replies that are there are read; no model is loaded.
    _key("evals.samples.sampling.samples", 3, "generate:*/samples"),
    _key("evals.samples.sampling.temperature", 0.9, "generate:*/samples"),
    _key("evals.samples.sampling.top_p", 0.5, "generate:*/samples"),
    _key("evals.samples.sampling.seed", 7, "generate:*/samples"),
    _key("evals.samples.sampling.at", [1, 4], "measure:*/samples"),
    _key("evals.samples.sampling.reward", GONE, "model:reward measure:*/samples",
         removes="score_rewards:*"),
    _key("evals.samples.sampling.unique_at_least", 2, "report"),
    _key("evals.safety.judge", {"model": "judge"}),
    _key("evals.safety.judge", {"model": "other"}, "judge:* model:judge", alone=True,
         adds="judge:low/safety < pin_model:other"),
    _key("evals.safety.judge", {"model": "judge", "sees": "response"}, "judge:*"),
    _key("evals.safety.judge", {"model": "judge", "max_new_tokens": 8}, "judge:*"),
    _key("evals.safety.judge", {"model": "judge", "turns": "user"}, "judge:*"),
    _key("evals.safety.judge", {"model": "judge", "format": "llama_guard"}, "judge:*"),
    # How its words are read, not which words it says.
    _key("evals.safety.judge", {"model": "judge", "safe": "SAFE", "unsafe": "UNSAFE"},
         "measure:*/safety"),
    _key("evals.safety.judge", {"model": "judge", "unread_at_most": 0.5}, "measure:*/safety"),
    _key("evals.safety.judge", {"model": "judge", "planted": 2}, "judge:*"),
    _key("evals.safety.judge", {"model": "judge", "backend": "vllm"}, "judge:*"),
    _key("evals.safety.judge",
         {"model": "judge", "guideline": "./config/prompts/safety_guideline.txt"}),
]  # fmt: skip


def _copy_answers(files: Files) -> None:
    files.copy("data/stale/answers.jsonl", "data/answers.jsonl")


RUNS = [
    _key("runs.given.model", GONE, "aggregate"),
    Edit("runs.given.base", "aggregate",
         (("runs.given.model", GONE), ("runs.given.base", "whole"))),
    Edit("runs.picked.preset names the same settings", "",
         (("presets.twin", {"method": "lora", "max_steps": 2, "batch_size": 4, "max_length": 256,
                            "lora": {"r": 4, "alpha": 8}}), ("runs.picked.preset", "twin")),
         alone=True),
    _key("runs.whole.train", "problems", "tokenize:whole train:whole leakage:problems-reading "
         "leakage:problems-solutions",
         adds=_ON_PROBLEMS, removes="leakage:reading-solutions", alone=True),
    # The rows that are there are joined; they are not made anew.
    _key("runs.low.train", [{"dataset": "problems", "weight": 2}], "mix:low train:low",
         adds=_MIXED, alone=True),
    _key("runs.low.train", [{"dataset": "problems", "rows": 5}], "mix:low train:low",
         adds=_MIXED, alone=True),
    _key("runs.borrowed.adapter", "./data/stale/adapter"),
    Edit("runs.borrowed.adapter names a copy", "", (("runs.borrowed.adapter", "data/adapter"),),
         lambda files: files.copy("data/stale/adapter", "data/adapter"), file="data/stale/adapter"),
    _key("runs.borrowed.adapter_revision", "main"),
    _key("runs.given.predictions.answers", "./data/stale/answers.jsonl"),
    Edit("runs.given.predictions names a copy", "",
         (("runs.given.predictions.answers", "data/answers.jsonl"),), _copy_answers,
         file="data/stale/answers.jsonl"),
    _key("runs.low.seed", 7, "train:low"),
    _key("runs.picked.seed", 7, "train:picked"),
    _key("runs.low.system", "Think.", "tokenize:low train:low"),
    _key("runs.low.prompt", "Solve: {question}", "tokenize:low train:low"),
    _key("runs.low.reply_prefix", "Well,", "tokenize:low train:low"),
    _key("runs.low.chat", False, "tokenize:low train:low", alone=True),
    _key("runs.low.template_args", {"a": 1}, "tokenize:low train:low"),
    _key("runs.low.thinking", "off", "tokenize:low train:low"),
    _key("runs.low.thinking.budget", 2, "tokenize:low train:low"),
    _key("runs.low.accept", ["prompt"]),
    _key("runs.low.snapshots", 2, "train:low"),
    _key("runs.picked.snapshots", 3, "train:picked", adds=_THIRDS, removes="*:picked-?of2/*",
         alone=True),
    _key("runs.picked.follow", ["math"], "generate:picked-?of2/math aggregate", adds=_FOLLOWED),
    _key("runs.picked.choose", "math.accuracy_flexible", "choose:picked"),
    _key("runs.low.gpu", 1),
    _key("runs.low.resources.memory_gb", 7),
    _key("runs.low.resources.minutes", 70),
    _key("runs.low.report_to", ["tensorboard"]),
    _key("runs.low.save_every", 0.5),
    _key("runs.low.sweep", {"seed": [42]}, "aggregate"),
    _key("runs.low.sweep", {"seed": [1, 2]}, "train:low_seed_?", adds=_SEEDS,
         removes="*:low */low *:low/*", alone=True),
    _key("runs.low.seeds", 2, "train:low_seed_*", adds=_JOINED,
         removes="*:low */low *:low/*", alone=True),
    _key("runs.low.seed_of", "joined", "aggregate"),
    _key("runs.low.evals.safety", {"max_new_tokens": 5}, "generate:*/safety-*", adds=_CHANGED,
         removes="generate:*/safety judge:*/safety measure:*/safety", alone=True),
    # llama.cpp is no part of the environment that starts are tried in: it is planned, and not run.
    _key("runs.low.gguf", ["f16"], "gguf_model:tiny merge:low", adds=_EXPORTED, alone=True),
    _key("runs.low.push.repo", "me/low"),
    Edit("runs.low.push", "", (("runs.low.push.repo", "me/low"), ("runs.low.push.private", False),
                               ("runs.low.push.merged", True))),
    _key("runs.low.label", "The low one", "report"),
    _key("runs.second", SECOND, "train:second", adds=NEW_RUN),
]  # fmt: skip

EDITS = [*EVALS, *RUNS]
