"""Backends: what runs a model that replies; one file each, named as evals ask for it."""

from pkgutil import iter_modules

OF_EXPORTS = "llama_cpp"
"""No eval asks for it: it is what a run's export is asked by."""
NAMES = tuple(sorted({file.name for file in iter_modules(__path__)} - {OF_EXPORTS}))
"""What evals may ask for."""
