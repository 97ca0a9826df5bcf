"""Floor 3 does, in the daemon: moves bytes, starts processes, keeps time."""
