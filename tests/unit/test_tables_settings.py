"""Tables are made of what the config asks for, or not at all."""

import json

import pytest

from snaketune.runtime.content import settings_of, sign
from snaketune.runtime.errors import UserError
from snaketune.tables.sources import TableSources, require_config_settings

PRESET = {"method": "qlora", "learning_rate": 2e-4, "lora": {"r": 8}}
TRAINING = {"base": {"content": "abc"}, "preset": PRESET, "seed": 42, "snapshots": 0}
STATE = {"model": {"content": "abc"}, "quantisation": "nf4", "weights": "adapter"}
PROTOCOL = {"task": "math", "few_shot": 3}
ASKED = {"training": {"a": TRAINING}, "states": {"a": STATE}, "protocols": {"math": PROTOCOL}}


def sources(training=TRAINING, state=STATE, protocol=PROTOCOL, **meta) -> TableSources:
    return TableSources(
        metrics={("a", "math"): {"protocol": protocol}},
        scores={},
        train_meta={"a": {"settings": training}},
        chosen={},
        prediction_meta={("a", "math"): {"settings": {"identity": state}, **meta}},
    )


def test_what_was_asked_for_passes():
    require_config_settings(ASKED, sources())


@pytest.mark.parametrize(
    "found, words",
    [
        (
            {"training": TRAINING | {"preset": PRESET | {"learning_rate": 9e-4}}},
            "train/a/train_meta.json: found preset.learning_rate 0.0009, the config says 0.0002",
        ),
        (
            {"training": TRAINING | {"preset": PRESET | {"lora": {"r": 16}}}},
            "found preset.lora.r 16, the config says 8",
        ),
        ({"training": TRAINING | {"seed": 7}}, "found seed 7, the config says 42"),
        ({"training": {}}, "found seed 'nothing', the config says 42"),
        (
            {"state": STATE | {"model": {"content": "other"}}},
            "a/math.meta.json: found state.model.content 'other', the config says 'abc'",
        ),
        ({"protocol": PROTOCOL | {"few_shot": 5}}, "metrics/a/math.json: found few_shot 5"),
    ],
)
def test_other_settings_are_told_with_both_values(found, words):
    with pytest.raises(UserError, match="of which no table is made") as error:
        require_config_settings(ASKED, sources(**found))
    assert words in str(error.value)


def test_predictions_made_elsewhere_have_no_state():
    require_config_settings(ASKED, sources(state=None, made="elsewhere"))


def test_many_differences_are_counted():
    other = TRAINING | {"preset": {f"key{i}": i for i in range(20)}}
    with pytest.raises(UserError, match=r"and \d+ more"):
        require_config_settings(ASKED, sources(training=other))


def test_a_record_names_all_its_makers(tmp_path):
    file = tmp_path / "meta.json"
    file.write_text(json.dumps({"seconds": 1}))
    sign(file, {"step": "generate", "version": 1, "code": "a"}, identity=STATE)
    sign(file, {"step": "join_shards", "version": 2, "code": "b"})
    found = json.loads(file.read_text())
    assert [m["step"] for m in found["made_by"]] == ["generate", "join_shards"]
    assert settings_of(found) == {"identity": STATE}
    assert found["seconds"] == 1
