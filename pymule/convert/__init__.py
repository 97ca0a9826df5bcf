"""Floor 4, for the commands: reads what uWSGI reads, writes what pymuled reads."""
