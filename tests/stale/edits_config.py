"""Edits of the config: every key at least once, but for those of evals and runs.

Where a key only says where something lies, or what a job asks for, nothing is to run.
"""

from stale.edit import Edit, Files

# What follows from a model's weights. A tokenizer's files decide the tokens, too.
OF_TINY = (
    "model:tiny train:low train:picked generate:*-tiny*/* generate:low/* generate:picked*/* "
    "generate:borrowed/* score_options:*-tiny/* score_options:borrowed/*"
)
TOKENS_OF_TINY = "tokenize:low tokenize:picked"
# An adapter from elsewhere is held against the files of its base, whatever they are loaded as.
ADAPTER_OF_TINY = "adapter:borrowed"
# What follows from how a dataset's records are read.
OF_PROBLEMS = "prepare_held_out:problems prepare:problems/test few_shot:problems"
OF_QUIZ = "prepare:quiz/* few_shot:quiz"
OF_SOLUTIONS = "prepare:solutions/* few_shot:solutions"
# Everything has to run.
ALL = "*"


def _key(path: str, value: object, expected: str = "", **further: object) -> Edit:
    return Edit(f"{path}={value}", expected, ((path, value),), **further)


def _copied(path: str, source: str, target: str) -> Edit:
    """A key that names a copy: the same content under another path."""

    def copy(files: Files) -> None:
        files.copy(source, target)

    return Edit(f"{path} names a copy", keys=((path, target),), do=copy, file=source)


# Of files that no other edit touches.
UNUSED_DATASET = {"source": "data/demo/formats/math_test.json", "format": "gsm8k"}


def unused_jobs(name: str) -> str:
    """The jobs of one more dataset."""
    return f"""
prepare:{name}/train
prepare:{name}/dev
prepare:{name}/test
few_shot:{name} < prepare:{name}/train
manifest:{name} < prepare:{name}/train prepare:{name}/dev prepare:{name}/test few_shot:{name}
"""


WHOLE = [
    _key("experiment", "another", ALL),
    _key("output", "elsewhere", ALL),
    _key("smoke", True, ALL, alone=True),
    _key("code", "strict"),
    _key("code", "versions"),
    _key("talk", "low"),
    _key("leave_out", ["quiz"], "aggregate", removes="*/quiz score_options:*/quiz"),
    _key("resources.memory_gb", 9),
    _key("resources.minutes", 99),
    # From an eval that no run is asked.
    Edit(
        "drops={'math': 'again'}",
        "aggregate",
        (
            ("evals.again", {"task": "math", "dataset": "problems"}),
            ("leave_out", ["again"]),
            ("drops", {"math": "again"}),
        ),
    ),
    _key("thresholds", {"low": {"safety.safe_rate": 0.1}}, "aggregate"),
    _key("totals", {"low": {"safety": 4}}, "aggregate"),
    _key("gate.not_worse", {"math.accuracy": 0.1}, "aggregate"),
    _key("gate.undecided", "pass", "aggregate"),
    # The gate judges without a file of its own, wherever it is asked for.
    Edit(
        "the gate at every start",
        "aggregate",
        (("gate.always", True), ("gate.not_worse", {"math.accuracy": 0.2})),
    ),
    _key("gate.against", "results/never", refused="no margin to compare it by"),
]

MODELS = [
    _key("models.tiny.id", "./data/demo/model"),
    _copied("models.tiny.id", "data/demo/model", "data/stale/model"),
    _key("models.tiny.id", "data/demo/checker", f"{OF_TINY} {TOKENS_OF_TINY} {ADAPTER_OF_TINY}"),
    _key("models.tiny.revision", "main"),
    _key("models.tiny.dtype", "float32", OF_TINY),
    _key("models.judge.dtype", "float32", "model:judge judge:*"),
    _key("models.other.dtype", "float32",
         "model:other train:whole generate:*-other/* generate:whole/* score_options:*-other/* "
         "score_options:whole/*"),
    _key("models.judge.quantisation", "nf4", "judge:*"),
    _key("models.tiny.quantisation", "nf4", refused="expected it to be unset, or none"),
    # Only what is held in 4 bits; the check looks at every setting.
    _key("models.tiny.double_quantisation", False,
         "model:tiny train:low generate:base-tiny-nf4/* generate:low/*"),
    _key("models.other.double_quantisation", False, "model:other"),
    _key("models.tiny.parameters", 3e6),
    _key("models.tiny.chat_template", "data/demo/model/chat_template.jinja",
         f"{OF_TINY} {TOKENS_OF_TINY}"),
    _key("models.tiny.trust_remote_code", True, f"{OF_TINY} {TOKENS_OF_TINY}"),
    _key("models.unused", {"id": "data/demo/model"}, "pin_model:unused",
         adds="pin_model:unused\nmodel:unused < pin_model:unused"),
]  # fmt: skip

DATASETS = [
    _key("datasets.problems.source", "./data/stale/problems"),
    _copied("datasets.problems.source", "data/stale/problems", "data/stale/copy_of_problems"),
    _copied("datasets.prompts.source", "data/stale/prompts.csv", "data/prompts.csv"),
    _key("datasets.reading.source.test", "data/stale/../stale/reading_test.jsonl"),
    _key("datasets.problems.format", "gsm_symbolic", OF_PROBLEMS),
    _key("datasets.quiz.columns.question", "story", OF_QUIZ),
    _key("datasets.quiz.columns.context", "question", OF_QUIZ),
    _key("datasets.quiz.columns.choices", ["A", "B", "C"], OF_QUIZ),
    _key("datasets.quiz.columns.answer", "A", OF_QUIZ),
    _key("datasets.quiz.columns.answer_is", "text", OF_QUIZ),
    _key("datasets.quiz.columns.keep", ["story"], OF_QUIZ),
    _key("datasets.quiz.columns.id", "question", OF_QUIZ),
    _key("datasets.solutions.columns.label", "number", OF_SOLUTIONS),
    _key("datasets.solutions.labels", ["wrong", "right"],
         f"{OF_SOLUTIONS} score_options:*/solutions"),
    _copied("datasets.solutions.catalogue.source", "data/stale/catalogue.csv",
            "data/catalogue.csv"),
    _key("datasets.solutions.catalogue.join_on", ["question"], "prepare:solutions/*"),
    _key("datasets.solutions.catalogue.columns", ["kind", "number"], "prepare:solutions/*"),
    _key("datasets.quiz.repeated_options", "keep", OF_QUIZ),
    # Of the hub alone.
    _key("datasets.problems.subset", "main"),
    _key("datasets.problems.revision", "main"),
    _key("datasets.problems.sha256", {"test": "0" * 64}, "prepare:problems/test"),
    _key("datasets.problems.dev", 5, "prepare_held_out:problems"),
    _key("datasets.problems.seed", 7, "prepare_held_out:problems"),
    # Without a dev split that is held out it decides nothing, but the manifest tells it.
    _key("datasets.reading.seed", 7, "manifest:reading"),
    _key("datasets.quiz.draw.test", 5, "prepare:quiz/*"),
    _key("datasets.quiz.draw.train", 3, "prepare:quiz/*"),
    _key("datasets.quiz.draw.seed", 7, "prepare:quiz/*"),
    _key("datasets.quiz.draw.stratify", "right", "prepare:quiz/*"),
    _key("datasets.quiz.draw.unless_there", True, "prepare:quiz/*"),
    _key("datasets.quiz.draw", {"test": 0.5, "at_most": 5}, "prepare:quiz/*"),
    _key("datasets.prompts.limit", 3, "prepare:prompts/*"),
    # Drawn alike, so that dev stays as it is: see snaketune.data.steps.same_draw.
    _key("datasets.problems.few_shot.count", 9, "few_shot:problems"),
    _key("datasets.problems.few_shot.count", 22, "prepare_held_out:problems"),
    _key("datasets.problems.few_shot.seed", 7, "prepare_held_out:problems"),
    Edit("datasets.problems.few_shot.file", "prepare_held_out:problems",
         (("datasets.problems.few_shot.file", "data/stale/shots.json"),),
         lambda files: files.new("data/stale/shots.json", '[{"question": "1?", "answer": "#### 1"},'
                                 ' {"question": "2?", "answer": "#### 2"}]')),
    _key("datasets.prompts.system", "Think.", "generate:*/safety"),
    _key("datasets.prompts.prompt", "Say: {question}", "generate:*/safety"),
    _key("datasets.prompts.chat", False, "generate:*/safety"),
    _key("datasets.prompts.reply_prefix", "Well,", "generate:*/safety"),
    _key("datasets.prompts.template_args", {"a": 1}, "generate:*/safety"),
    _key("datasets.prompts.thinking", "off", "generate:*/safety"),
    _key("datasets.prompts.thinking.budget", 2, "generate:*/safety model:tiny"),
    _key("datasets.problems.rejected_at_most", 0.5, "manifest:problems"),
    # It names what a row's cluster is called, for draws and intervals alike.
    _key("datasets.problems.group", "question", OF_PROBLEMS),
    _key("datasets.problems.train_on", "last", refused="train_on belongs to format chat"),
    _key("datasets.problems.licence", "MIT", "manifest:problems"),
    _key("datasets.problems.overlap", "drop", "prepare:problems/test"),
    _key("datasets.unused", UNUSED_DATASET, "prepare:unused/*", adds=unused_jobs("unused")),
]  # fmt: skip


def _plain(key: str, value: object, checked: str = "") -> Edit:
    """A key that decides a training, and maybe whether the model can take it."""
    return _key(f"presets.plain.{key}", value, f"train:picked {checked}".strip())


PRESETS = [
    _key("presets.plain.dropped_at_most", 0.5, "aggregate"),
    _plain("epochs", 0.5),
    _plain("max_steps", 3),
    _plain("learning_rate", 9.0e-4),
    _plain("schedule", "linear"),
    _plain("warmup_ratio", 0.5),
    _plain("weight_decay", 0.1),
    _plain("batch_size", 2),
    _plain("accumulation", 2),
    _plain("optimizer", "adamw_8bit"),
    _plain("max_grad_norm", 0.5),
    _plain("gradient_checkpointing", True),
    _plain("batching", "packed"),
    _plain("eval_per_epoch", 1),
    _plain("dtype", "float32"),
    _plain("lora.r", 2),
    _plain("lora.alpha", 4),
    _plain("lora.dropout", 0.1, "model:tiny"),
    _plain("lora.targets", ["q_proj"], "model:tiny"),
    _plain("lora.rslora", True),
    _plain("lora.dora", True, "model:tiny"),
    _key("presets.plain.max_length", 200, "tokenize:picked train:picked"),
    _key("presets.plain.overlong", "truncate", "tokenize:picked train:picked"),
    _key("presets.quantised.best", "loss", "train:low"),
    # Of a finished training they are gone; a note says so.
    _key("presets.quantised.keep", 2, "aggregate"),
    _key("presets.whole.method", "lora", "model:other train:whole"),
    _key("presets.unused", {"learning_rate": 9.0e-4}),
]

EDITS = [*WHOLE, *MODELS, *DATASETS, *PRESETS]
