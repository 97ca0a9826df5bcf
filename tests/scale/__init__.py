"""How a pymuled fares that has very many of something; run by hand, for minutes."""
