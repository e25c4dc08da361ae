"""One module a figure: each draws from plain rows and returns a Matplotlib figure."""
