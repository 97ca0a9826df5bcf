"""Floor 3 does, in your application: hands messages over."""
