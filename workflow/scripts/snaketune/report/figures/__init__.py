"""Figures of a kind in each module: drawn from plain rows, and from the report's sources."""
