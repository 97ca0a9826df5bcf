"""How each peer is started for a round; what then runs in its processes is elsewhere."""

__all__ = ()
