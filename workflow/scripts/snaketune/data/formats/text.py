"""Plain text for continued training: a document a record, `{"text": …}` or a paragraph of a .txt
file. All of it is learned, and held-out text is scored by its perplexity."""

import json
from typing import ClassVar

from snaketune.data.example import Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.record import Fields


@data_format(task="perplexity")
class Text(Format):
    """The field `text`; `title` and `url` are kept where they are text."""

    columns = (("text",),)
    shown: ClassVar = {"text": "The ferry leaves at six. It is back by noon.", "title": "Ferries"}

    def recognised(self, fields: Fields) -> str | None:
        return "plain text"

    def example(self, fields: Fields) -> Example:
        kept = {k: v for k in ("title", "url") if isinstance(v := fields.value.get(k), str)}
        text, meta = fields.text("text"), json.dumps(kept, ensure_ascii=False)
        return Example(fields.identifier("id"), text.strip(), meta=meta)
