"""What people read: the report, its figures, and model cards."""
