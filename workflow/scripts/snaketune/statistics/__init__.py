"""Intervals, tests and curves: numbers about numbers, whatever the task."""
