"""Prompts to replies, scores of options, rewards and verdicts."""
