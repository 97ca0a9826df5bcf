"""The disks do what the tests that stand on them believe."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.chaos.disk import why_no_mounts, why_no_power_cut

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def _can_mount() -> None:
    if (reason := why_no_mounts()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def _can_cut() -> None:
    if (reason := why_no_power_cut()) is not None:
        pytest.skip(reason)


def in_own_mounts(script: str, directory: Path) -> list[str]:
    """Run *script* in a process that may mount; return the words it printed."""
    head = "import os; from tests.chaos.disk import *; own_mounts()\n"
    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", head + textwrap.dedent(script)],
        cwd=_ROOT,
        # What a process leaves behind that is killed.
        env={**os.environ, "TMPDIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.usefixtures("_can_cut")
def test_a_power_cut_takes_what_was_not_synced_and_leaves_what_was(
    tmp_path: Path,
) -> None:
    said = in_own_mounts(
        """
        def write(path, is_synced):
            with path.open("wb") as file:
                file.write(b"x" * 5000)
                file.flush()
                if is_synced:
                    os.fsync(file.fileno())

        with PowerDisk.plugged() as disk:
            write(disk.path / "synced", True)
            write(disk.path / "unsynced", False)
            disk.cut()
            disk.turn_off()
            disk.turn_on()
            for path in sorted(disk.path.iterdir()):
                print(path.name, path.stat().st_size)
    """,
        tmp_path,
    )

    assert said == ["lost+found", said[1], "synced", "5000"]


@pytest.mark.usefixtures("_can_cut")
def test_after_a_power_cut_no_sync_succeeds(tmp_path: Path) -> None:
    said = in_own_mounts(
        """
        with PowerDisk.plugged() as disk:
            with (disk.path / "file").open("wb", buffering=0) as file:
                file.write(b"x")
                disk.cut()
                try:
                    os.fsync(file.fileno())
                except OSError as exc:
                    print(exc.errno)
    """,
        tmp_path,
    )

    assert said == ["5"]


@pytest.mark.usefixtures("_can_cut")
def test_nothing_of_a_disk_is_left_also_when_its_process_is_killed(
    tmp_path: Path,
) -> None:
    loops = Path("/sys/block")
    before = {path.name for path in loops.glob("loop*/loop/backing_file")}

    with pytest.raises(AssertionError):
        in_own_mounts(
            """
            with PowerDisk.plugged() as disk:
                os.kill(os.getpid(), 9)
        """,
            tmp_path,
        )

    assert "disk-" not in Path("/proc/mounts").read_text()
    after = {path.name for path in loops.glob("loop*/loop/backing_file")}
    assert after == before


@pytest.mark.usefixtures("_can_mount")
def test_a_small_disk_is_full_at_its_size(tmp_path: Path) -> None:
    said = in_own_mounts(
        """
        with small_disk(1 << 20) as path:
            with (path / "file").open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError as exc:
                    print(exc.errno, file.tell())
    """,
        tmp_path,
    )

    assert said == ["28", str(1 << 20)]
