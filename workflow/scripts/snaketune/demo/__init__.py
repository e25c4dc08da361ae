"""What makes the demo's data and small models, from seeds: nothing here is used by a run."""
