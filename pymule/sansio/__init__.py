"""Floor 1 decides: no I/O, no clock, no randomness, no logging."""
