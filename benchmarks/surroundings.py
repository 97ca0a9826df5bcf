"""What figures depend on: machine, Python, versions, commit."""

import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil

from benchmarks.catalog import peer_versions
from benchmarks.disk import disk_folder, file_system
from pymule.version import VERSION

__all__ = ("Surroundings", "sentence", "surroundings")

Surroundings = Mapping[str, object]

_ROOT: Final = Path(__file__).parent.parent
_GIGA: Final = 2**30
# Figures are kept there, which changes nothing that is measured.
_MEASURED: Final = ("pymule", "benchmarks", ":!benchmarks/results")


def surroundings() -> Surroundings:
    """Look at all of them."""
    return {
        "machine": _machine(),
        "memory_gib": round(psutil.virtual_memory().total / _GIGA),
        "kernel": platform.release(),
        "file_system": _file_system(),
        "python": platform.python_version(),
        "versions": {"pymule": VERSION, **_package_versions(), **peer_versions()},
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "has_local_changes": bool(_git("status", "--porcelain", "--", *_MEASURED)),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def sentence(around: Surroundings) -> str:
    """Return it for people; files that were kept long ago may say less."""
    versions = around["versions"]
    assert isinstance(versions, dict), "made by surroundings"
    listed = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    changes = " with local changes" if around["has_local_changes"] else ""
    memory = f", {around['memory_gib']} GiB" if "memory_gib" in around else ""
    disk = f", {around['file_system']}" if "file_system" in around else ""
    return (
        f"{around['machine']}{memory}; Linux {around['kernel']}{disk}; "
        f"Python {around['python']}; commit {around['commit']}{changes}; {listed}"
    )


def _package_versions() -> dict[str, str]:
    """Return those of the extra ``bench`` that are installed, and of uvloop."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    wanted = ["uvloop", *project["optional-dependencies"]["bench"]]
    versions = {}
    for requirement in wanted:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _file_system() -> str:
    try:
        return file_system(disk_folder())
    except OSError as exc:
        # Only durable peers need one, and they say so themselves.
        return str(exc)


def _machine() -> str:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores, {model}"


def _git(*words: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(  # noqa: S603  (our own words, no shell)
        [git, *words], cwd=_ROOT, capture_output=True, check=False, text=True
    )
    return done.stdout.strip()
