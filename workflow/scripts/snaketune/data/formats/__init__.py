"""Format adapters: how a record of a known shape becomes an example."""
