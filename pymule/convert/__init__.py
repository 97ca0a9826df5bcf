"""Below the commands: reads what uWSGI reads, writes what pymuled reads, runs none."""
