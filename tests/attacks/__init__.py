"""What ill-behaved peers do to a pymuled, and how little the others notice of it."""
