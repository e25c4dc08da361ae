"""What a model is and where it lies; loading, NF4, adapters, merging, to and from the hub."""
