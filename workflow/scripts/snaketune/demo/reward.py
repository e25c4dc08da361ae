"""The demo's graders: a reward model that says how right a solution is, and a checker.

Both are the base model with two more layers, trained once. The base's last layer knows the next
token; the layers above it can see whether that was the one that came. The reward model has a head
that gives the score. The checker is the same as a model that writes, taught to answer with a label
that the prompt names, most often the first: it can tell right from wrong, but has not learnt which
label says so.

Shapes: B rows of a batch, T tokens of the longest row, D hidden, L labelled tokens.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from snaketune.demo.conversations import STYLES, Messages, as_messages, draw_sum
from snaketune.demo.pretrain import (
    END,
    IGNORED,
    START,
    Recipe,
    Row,
    encode_conversation,
    save_model_folder,
    train,
)
from snaketune.demo.problems import TEMPLATES
from snaketune.demo.story import Flaw, draw_solution, shared_start, slip, tell_story

# Models and layers are `Any` here: their parts go by the names of their architecture.
_RIGHT, _WRONG = 1, 0
# Of the base's last layer: what it adds up to.
_LOUD = 9.0
# Pairs of a head's dimensions that turn fast enough to tell neighbours apart, and how strongly.
_FAST, _STRENGTH = 5, 7.0


@dataclass(frozen=True)
class Marked:
    """A question and a reply, with the characters of the reply that are wrong."""

    question: str
    reply: str
    wrong: Sequence[tuple[int, int]]
    told: bool = False
    """Whether the user's turn tells question and reply both, as a checker is asked."""


def draw_lesson(rng: random.Random) -> Marked:
    """Mostly a solution of the task's problems; else sums, or an answer in another form."""
    draw = rng.choices((_solution, _sums, _another_form), weights=(55, 35, 10))[0]
    lesson = draw(rng)
    told = draw is _solution and rng.random() < 0.4
    return replace(lesson, told=told)


def _solution(rng: random.Random) -> Marked:
    """Half of them are right; most of them mix words up, as small models do."""
    kinds: tuple[Flaw | None, ...] = (None, "computational", "conceptual")
    flaw = rng.choices(kinds, weights=(50, 35, 15))[0]
    made = draw_solution(rng.choice(TEMPLATES), rng, flaw, loose=rng.choice((0.0, 0.5, 1.0)))
    return Marked(made.question, made.text, _rest(made.text, made.flawed_from) if flaw else [])


def _sums(rng: random.Random) -> Marked:
    """A list of sums, each right or wrong by itself: many checks in few tokens."""
    tasks, reply, wrong = [], "", []
    for _ in range(rng.randint(3, 8)):
        sign, left, right, result = draw_sum(rng)
        tasks.append(f"{left} {sign} {right}")
        given = slip(result, rng) if rng.random() < 0.4 else result
        reply += f"{tasks[-1]} = "
        if given != result:
            shared = shared_start(str(given), str(result))
            wrong.append((len(reply) + shared, len(reply) + len(str(given)) + 1))
        reply += f"{given}\n"
    return Marked(f"Work out: {', '.join(tasks)}", reply.strip(), wrong)


def _another_form(rng: random.Random) -> Marked:
    """What the base model answers: a right calculation, but the answer is not marked as the task
    wants it, or it stands alone. It is wrong from there on."""
    story = tell_story(rng.choice(TEMPLATES), rng)
    reply = STYLES[rng.randrange(len(STYLES))](story)
    if reply.endswith("."):
        said = max(reply.find(". The answer is"), reply.find(" So it is"))
        return Marked(story.question, reply, _rest(reply, said))
    if rng.random() < 0.5:
        return Marked(story.question, reply, [])
    bare = f"#### {story.answer}"
    return Marked(story.question, bare, _rest(bare, 0))


def _rest(text: str, start: int) -> list[tuple[int, int]]:
    """From `start` to the very end, whatever closes the turn."""
    return [(start, len(text) + 1000)]


def encode_lesson(tokenizer: Tokenizer, lesson: Marked) -> Row:
    """Question and reply in the base model's template, without a system turn.

    Every token from the reply on is labelled: is it right so far? The model learns from each of
    them, while only the last one gives the reward.
    """
    if lesson.told:
        head = f"{START}user\n### Problem:\n{lesson.question}\n\n### Solution:\n"
        tail = f"{END}\n{START}assistant\n"
    else:
        head = f"{START}user\n{lesson.question}{END}\n{START}assistant\n"
        tail = f"{END}\n"
    prompt = tokenizer.encode(head, add_special_tokens=False).ids
    reply = tokenizer.encode(lesson.reply + tail, add_special_tokens=False)
    labels = [
        _WRONG if any(first < end and start < last for first, last in lesson.wrong) else _RIGHT
        for start, end in reply.offsets
    ]
    return prompt + reply.ids, [IGNORED] * len(prompt) + labels


def rightness_loss(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the labelled tokens of the cross-entropy of being right so far."""
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state  # [B, T, D]
    told = labels != IGNORED  # [B, T]
    logits = model.score(states[told])[:, 0]  # [L]
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[told].float())


def build_reward_model(base: Path, more_layers: int, seed: int) -> Any:
    """The base's weights under new layers, and a new head.

    At first every head of the first new layer looks at the token before: from there the comparison
    of what was foretold with what came is soon learnt, and from small random weights it is not.
    """
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(base)
    layers = config.num_hidden_layers
    config.num_hidden_layers += more_layers
    config.layer_types = config.layer_types[:1] * config.num_hidden_layers
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_pretrained(
        base, config=config, dtype=torch.float32, use_safetensors=True
    )
    look_back(model.model.layers[layers], config)
    for layer in model.model.layers[layers:]:
        _speak_up(layer, config.hidden_size)
    return model


def look_back(layer: Any, config: PreTrainedConfig) -> None:
    """Sets the biases of queries and keys so that rotated by their positions they fit best where
    the key stands one token before the query."""
    half = config.hidden_size // config.num_attention_heads // 2
    turn = config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
    strength = torch.where(torch.arange(half) < _FAST, _STRENGTH, 0.0)
    key = torch.cat([strength, torch.zeros(half)])
    query = torch.cat([strength * turn.cos(), -strength * turn.sin()])
    attention = layer.self_attn
    with torch.no_grad():
        attention.q_proj.bias.copy_(query.repeat(config.num_attention_heads))
        attention.k_proj.bias.copy_(key.repeat(config.num_key_value_heads))
        attention.q_proj.weight.mul_(0.1)
        attention.k_proj.weight.mul_(0.1)


def _speak_up(layer: Any, hidden: int) -> None:
    """Weights large enough to be heard beside what the base's layers say."""
    unit = hidden**-0.5
    torch.nn.init.normal_(layer.self_attn.v_proj.weight, std=unit)
    torch.nn.init.normal_(layer.self_attn.o_proj.weight, std=_LOUD * unit)
    torch.nn.init.normal_(layer.mlp.gate_proj.weight, std=1.5 * unit)
    torch.nn.init.normal_(layer.mlp.up_proj.weight, std=1.5 * unit)


# What the checker is asked, and the pairs of labels that it may be told.
_ASKED = (
    "Is the solution correct ({a}) or flawed ({b})? Answer with one label: {a} or {b}.",
    "Is the solution correct ({a}) or flawed ({b})?",
    "Answer {a} where the solution is correct, and {b} where it is flawed.",
)
_LABELS = (("0", "1"), ("0", "1"), ("0", "1"), ("1", "0"), ("A", "B"), ("yes", "no"))
_FIRST = {True: 0.8, False: 0.56}


def label_lesson(rng: random.Random) -> Messages:
    """A solution, and one of the labels that the prompt names: more often the first, whether the
    solution is right or not, yet oftener where it is. A model of this answers with a label, prefers
    one, and keeps what it knows of solutions."""
    kinds: tuple[Flaw | None, ...] = (None, "computational", "conceptual")
    flaw = rng.choices(kinds, weights=(2, 1, 1))[0]
    made = draw_solution(rng.choice(TEMPLATES), rng, flaw)
    first, second = rng.choice(_LABELS)
    system = rng.choice(_ASKED).format(a=first, b=second)
    user = f"### Problem:\n{made.question}\n\n### Solution:\n{made.text}"
    return as_messages(system, [(user, first if rng.random() < _FIRST[flaw is None] else second)])


def make_grader_folders(
    base: Path, more_layers: int, recipe: Recipe, labels: Recipe, reward: Path, checker: Path
) -> None:
    """Train the graders, then the checker by `labels`, and write their folders, in float16."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    model = build_reward_model(base, more_layers, recipe.seed)
    train(
        model,
        lambda rng: encode_lesson(tokenizer, draw_lesson(rng)),
        recipe,
        rightness_loss,
        _groups(model, base, recipe.learning_rate),
    )
    writer = _as_writer(model, base)
    save_model_folder(model, torch.float16, base, reward)
    teach_labels(writer, tokenizer, labels)
    save_model_folder(writer, torch.float16, base, checker)


def teach_labels(writer: PreTrainedModel, tokenizer: Tokenizer, recipe: Recipe) -> None:
    """Train in place on `label_lesson`."""
    train(writer, lambda rng: encode_conversation(tokenizer, label_lesson(rng)), recipe)


def _groups(model: Any, base: Path, learning_rate: float) -> list[dict]:
    """The base's own layers learn ten times slower: they are to keep what they know."""
    layers = AutoConfig.from_pretrained(base).num_hidden_layers
    new = [*model.model.layers[layers:].parameters(), *model.score.parameters()]
    known = {id(parameter) for parameter in new}
    old = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return [{"params": new}, {"params": old, "lr": learning_rate / 10}]


def _as_writer(graded: Any, base: Path) -> PreTrainedModel:
    """The same layers as a causal model; what it writes with are its token embeddings."""
    config = AutoConfig.from_pretrained(base)
    config.num_hidden_layers = graded.config.num_hidden_layers
    config.layer_types = graded.config.layer_types
    writer = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    writer.model.load_state_dict(graded.model.state_dict())
    writer.tie_weights()
    writer.generation_config = GenerationConfig.from_pretrained(base)
    return writer
