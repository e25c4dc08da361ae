"""The examples of docs/extend.md, as they stand there."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"


def example(title):
    """The Python block of a section."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def test_a_backend_of_your_own(tmp_path, monkeypatch):
    from tiny_chat import questions, save_chat_model

    from snaketune.config.model import ModelSpec
    from snaketune.inference import backends
    from snaketune.inference.jobs import LoadableState
    from snaketune.inference.session import open_session

    (tmp_path / "hf_generate.py").write_text(example("A backend of your own"))
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    save_chat_model(tmp_path / "model")
    state = LoadableState(ModelSpec(id=str(tmp_path / "model")), "none", "none", [])

    def replies(name):
        session = open_session(state, name)
        prompts = session.tokenizer(questions(4))["input_ids"]
        found = list(session.replies(prompts, 6, "auto"))
        assert "seconds" in session.meta([{"finish": text.finish} for text in found])
        return sorted((text.index, text.tokens, text.finish) for text in found)

    assert replies("hf_generate") == replies("transformers")
