"""From metrics and scores to the tables of an experiment."""
