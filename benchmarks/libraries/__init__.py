"""Job libraries, one in each module: its job, its worker, and how a job is sent.

Both sides of a queue load the module: the producer calls ``line``, and the library's
own command finds the worker in it.
"""

__all__ = ()
