"""The application, as a signal-only mule imports it for its handlers."""

print("application imported, waiting for signals")
