"""Floor 3 does, in a mule: takes messages and runs the program."""
