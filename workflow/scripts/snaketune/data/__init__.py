"""Prepared examples: where records come from, how they are checked, how they are kept."""
