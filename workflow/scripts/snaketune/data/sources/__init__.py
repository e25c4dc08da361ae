"""Sources: each module reads one kind of file or place into tables of records."""
