"""Install a package of Debian's on the machine, for what is measured or tested."""

import os
import shutil
import subprocess

__all__ = ("install",)


def install(package: str) -> str | None:
    """Install *package*; return why that cannot be, or ``None``."""
    if shutil.which("apt-get") is None:
        return "no apt-get to install it"
    if os.getuid() != 0:
        return "no right to install it"
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (
        ["update"],
        ["install", "--yes", "--no-install-recommends", package],
    ):
        done = subprocess.run(  # noqa: S603  (words of this module)
            ["apt-get", "--quiet", *words],  # noqa: S607  (wherever the system has it)
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            return f"apt-get {words[0]}: {done.stderr.strip()}"
    return None
