"""A task by its name. Apart from `task.py`: only what asks for one depends on all of them."""

from importlib import import_module

from snaketune.tasks.task import REGISTERED, Task


def task_of(name: str) -> Task:
    """The task by the name that evals use, or `math_samples`; no other one is imported."""
    import_module(f"snaketune.tasks.{name}")
    return REGISTERED[name]
