"""The config models: defaults, checks, schema and documentation come from them."""
