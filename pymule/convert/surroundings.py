"""What a configuration of uWSGI may ask this machine about: variables and files.

The only module of the package that looks at the machine, and only to read.
"""

import glob
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pymule.errors import ConfigError

__all__ = ("MAX_BYTES", "Surroundings", "decoded")

# More is no configuration, and a device has no end.
MAX_BYTES: Final = 1024 * 1024
"""The longest configuration."""


class Surroundings:
    """Answers for *directory*, the current one, and the variables *environ*."""

    def __init__(self, environ: Mapping[str, str], directory: Path) -> None:
        self._environ = dict(environ)
        self._directory = directory

    def variable(self, name: str) -> str | None:
        """Return the value of an environment variable."""
        return self._environ.get(name)

    def set_variable(self, name: str, value: str) -> None:
        """Let :meth:`variable` answer *value* from now on."""
        self._environ[name] = value

    def absolute(self, path: str) -> Path:
        """Return *path* as uWSGI has it in ``%p``: links to files are not followed."""
        full = self._directory / path
        return Path(os.path.abspath(full)) if full.is_symlink() else full.resolve()  # noqa: PTH100  (a Path keeps its dots)

    def is_there(self, path: str) -> bool:
        """Tell whether *path* exists, be it what it may."""
        return self._holds(path, Path.exists)

    def is_file(self, path: str) -> bool:
        """Tell whether *path* is a regular file."""
        return self._holds(path, Path.is_file)

    def is_directory(self, path: str) -> bool:
        """Tell whether *path* is a directory."""
        return self._holds(path, Path.is_dir)

    def _holds(self, path: str, check: Callable[[Path], bool]) -> bool:
        try:
            return check(self._directory / path)
        except OSError:
            # Too long for a name, or in a directory that is not ours to see.
            return False

    def matches(self, pattern: str) -> list[str]:
        """Return the paths that a shell would put in place of *pattern*, in order."""
        return sorted(glob.glob(pattern, root_dir=self._directory))  # noqa: PTH207  (paths as they were written)

    def read(self, path: str) -> str:
        """Return the text of a file.

        Raises:
            ConfigError: It cannot be read, is too big or is not UTF-8.
        """
        try:
            with (self._directory / path).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
        return decoded(raw, path)


def decoded(raw: bytes, source: str) -> str:
    """Return the text of a file of uWSGI that people call *source*.

    Raises:
        ConfigError: It is too big or not UTF-8.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{source}: found more than {MAX_BYTES} bytes; allowed: less")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigError(
            f"{source}:{line}: found byte 0x{raw[exc.start]:02x}; allowed: UTF-8"
        ) from None
