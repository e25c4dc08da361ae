"""What a task asks for, scores and measures: a file a task."""
