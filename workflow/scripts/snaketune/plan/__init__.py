"""What follows from a config before anything runs: states, protocols, token sets, requests."""
