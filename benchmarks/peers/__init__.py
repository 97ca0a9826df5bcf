"""How each peer is started for a round; what runs in its processes is elsewhere."""

__all__ = ()
