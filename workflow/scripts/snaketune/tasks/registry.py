"""The tasks that can be measured, by the name that evals use."""

from snaketune.tasks import classification, math_samples, multiple_choice, safety
from snaketune.tasks import math as math_answers
from snaketune.tasks import open_qa as open_answers
from snaketune.tasks.task import Measurer

MEASURERS: dict[str, Measurer] = {
    "math": math_answers.MEASURER,
    "math_samples": math_samples.MEASURER,
    "safety": safety.MEASURER,
    "multiple_choice": multiple_choice.MEASURER,
    "open_qa": open_answers.MEASURER,
    "classification": classification.MEASURER,
}
