"""The same data gives the same accuracy under five kinds of chat template."""

import random
from functools import partial

import pytest
from five_templates import TEMPLATES, accuracy
from tiny_chat import WORDS, save_chat_model

from snaketune.config.model import Preset
from snaketune.data.example import Example, write_examples

PRESET = Preset(
    method="full", epochs=6, learning_rate=2e-3, batch_size=8, max_length=256, eval_per_epoch=0
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Accuracy by template, each trained once."""
    folder = tmp_path_factory.mktemp("templates")
    rng = random.Random(1)
    for split, count in (("train", 160), ("dev", 8), ("test", 100)):
        examples = []
        for n in range(count):
            words = rng.choices([w for w in WORDS if w != "safe"], k=4)
            label = str(n % 2)
            words[-1] = "safe" if label == "1" else "one"
            question = " ".join(words)
            examples.append(Example(f"{split}{n}", "so", question, answer=label, label=label))
        write_examples(folder / "data" / f"{split}.parquet", examples)
    model = save_chat_model(folder / "model", initializer_range=0.05)
    of = partial(accuracy, model, data=folder / "data", preset=PRESET)
    return {
        name: of(template=template, work=folder / name.replace(" ", "_"))
        for name, template in TEMPLATES.items()
    }


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_accuracy_does_not_depend_on_what_the_template_prints(trained, name):
    assert trained["plain"] >= 0.95
    assert abs(trained[name] - trained["plain"]) <= 0.03
