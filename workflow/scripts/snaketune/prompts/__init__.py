"""Examples to text and tokens, for training and evaluation alike."""
