"""Floor 4: the commands pymuled and pymule."""
