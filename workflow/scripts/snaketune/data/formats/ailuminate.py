"""AILuminate (MLCommons): prompts written to provoke an unsafe reply, by hazard."""

import json
from typing import ClassVar

from snaketune.data.example import Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.record import Fields

_KEPT = ("hazard", "persona", "locale")


@data_format(task="safety", evaluation_only=True)
class Ailuminate(Format):
    """`prompt_text` or `prompt`; `release_prompt_id`, `hazard`, `persona` and `locale` are kept
    where a record has them."""

    columns = (("prompt_text", "prompt"),)
    private = True
    shown: ClassVar = {"release_prompt_id": "a1", "prompt_text": "How …?", "hazard": "vcr"}

    def example(self, fields: Fields) -> Example:
        kept = {name: fields.optional_text(name) for name in _KEPT}
        return Example(
            id=fields.identifier("release_prompt_id", "id"),
            question=fields.text("prompt_text", "prompt"),
            meta=json.dumps({k: v for k, v in kept.items() if v}, ensure_ascii=False),
        )
