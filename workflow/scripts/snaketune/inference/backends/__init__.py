"""Backends: what runs a model that replies; one file each, named as evals ask for it."""
