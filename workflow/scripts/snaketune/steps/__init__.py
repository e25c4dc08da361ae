"""The kinds of step, their versions, and the code that each version stands for."""
