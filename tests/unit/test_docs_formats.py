"""docs/formats.md is what the code says, and its examples are read."""

import json
import re
from pathlib import Path

import pytest

from snaketune.config.base import FORMATS, TASKS
from snaketune.config.dataset import DatasetSpec
from snaketune.config.document import formats_page
from snaketune.data.formats.base import adapter_of, format_for
from snaketune.data.record import Fields, Record, Table
from snaketune.prompts import wording

PAGE = Path(__file__).parents[2] / "docs/formats.md"


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == formats_page(), "run `make docs`"


@pytest.mark.parametrize("name", FORMATS)
def test_every_example_is_read(name):
    adapter, _ = adapter_of(name)
    section = PAGE.read_text(encoding="utf-8").split(f"## `{name}`")[1].split("\n## ")[0]
    record = json.loads(re.search(r"```json\n(.*?)\n```", section, re.S)[1])
    assert record == adapter.shown
    form = format_for(DatasetSpec(source="x", format=name, **adapter.settings))
    (table,) = form.expand([Table("x", "x", None, iter([Record(1, record, record)]))], "train")
    assert [form.example(Fields(r.value)).question for r in table.records]


def test_every_task_has_its_prompt():
    page = PAGE.read_text(encoding="utf-8").split("# Default prompts")[1]
    for task, info in TASKS.items():
        assert (f"## `{task}`" in page) == (not info.samples_of)
    for text in (wording.MATH_SYSTEM, wording.MULTIPLE_CHOICE, wording.CLASSIFICATION):
        assert text in page
    assert wording.JUDGE_INSTRUCTION in page
