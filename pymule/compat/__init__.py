"""uWSGI's module names over pymule: names only, what they do is done below."""

from pymule.compat.finder import install

__all__ = ("install",)
