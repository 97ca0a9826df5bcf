"""What runs in the processes of a round: senders, receivers and the bare relay."""

__all__ = ()
