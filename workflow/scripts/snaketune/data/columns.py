"""What the columns of a user's table are called and what they hold: by which is asked, which is the
answer, and which rows belong together.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snaketune.data.formats.values import canonical_number
from snaketune.data.record import is_missing

Row = dict[str, Any]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ABOUT = {"", "unnamed: 0", *_words("id idx index title url source meta lang language")}
"""Of names, the likeliest first: what says something about a record."""
QUESTIONS = _words(
    "question query prompt instruction problem ctx input text sentence goal note review "
    "message utterance content body frage aufgabe pregunta domanda premise"
)
ANSWERS = _words(
    "answer answers response output completion target reply gold solution answerkey answer_key "
    "correct_answer correct key final_answer antwort lösung réponse reponse respuesta risposta "
    "summary highlights translation label"
)
CONTEXTS = _words("context passage document story article paragraph support kontext")
LABELS = _words(
    "label class category sentiment intent topic rating stars emotion stance target klasse "
    "kategorie toxic spam y"
)
GROUPS = _words(
    "patient user subject author speaker thread template session family group patient_id user_id "
    "thread_id template_id document_id"
)
LISTS = ("choices", "options", "endings", "answers")
LETTERED = re.compile(r"(?:option|choice|opt|answer|sol|ending|hyp)?[ _]?([A-Ha-h]|[0-9])")
PAIRS: tuple[tuple[str, str], ...] = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
)
PAIRS += (("text1", "text2"), ("sentence", "question"), ("text_a", "text_b"))
"""Two texts of which a label says something: the one to read first, and the other."""
_MOSTLABELS = 50


@dataclass(frozen=True)
class Columns:
    names: list[str]
    """Those with a value in some row."""
    rows: Sequence[Row]
    classes: Mapping[str, list[str]]

    def values(self, name: str) -> list[Any]:
        """Those that are there and no empty text."""
        found = [row.get(name) for row in self.rows]
        return [
            v for v in found if not is_missing(v) and not (isinstance(v, str) and not v.strip())
        ]

    def texts(self, name: str) -> bool:
        """Whether most values are texts that are no numbers."""
        told = [isinstance(v, str) and canonical_number(v) is None for v in self.values(name)]
        return sum(told) * 2 > len(told)

    def called(self, wanted: Iterable[str], taken: Iterable[str | None] = ()) -> str | None:
        """The first of the wanted names that a column has, in any case."""
        lower = {name.lower().strip(): name for name in self.names if name not in set(taken)}
        return next((lower[name] for name in wanted if name in lower), None)

    def kinds(self, name: str) -> list[str]:
        """The different values as labels, sorted; none where they are no labels: too many, too
        long, or none twice."""
        values = [_as_label(value) for value in self.values(name)]
        if any(value is None or len(value) > 60 for value in values):
            return []
        known = self.classes.get(name)
        if known and all(isinstance(value, int) for value in self.values(name)):
            return list(known)
        found = Counter(map(str, values))
        few = 2 <= len(found) <= min(_MOSTLABELS, max(2, len(values) // 2))
        return sorted(found) if few and (len(values) <= 4 or max(found.values()) > 1) else []

    def nested(self) -> list[str]:
        """Those that hold lists or objects."""
        return [n for n in self.names if isinstance(next(iter(self.values(n)), None), list | dict)]


def _as_label(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int) else None
