"""The journal as the master sees it, on both loops."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from pymule.errors import (
    JournalDamagedError,
    JournalFailedError,
    JournalFormatError,
    JournalInUseError,
    JournalSetupError,
    StorageFullError,
)
from pymule.master.journal import Journal
from pymule.sansio.record import (
    Buried,
    Changed,
    DeadGone,
    Fact,
    Gone,
    Paused,
    RowGone,
    Share,
)
from tests.chaos.disk import small_disk, why_no_mounts
from tests.conftest import wait_until
from tests.master.conftest import Logged
from tests.master.journaling import Keeper, letter, reopened, stored


@pytest.fixture(autouse=True)
def _opening_blocks(blockbuster: BlockBuster) -> None:
    """The daemon opens its journal before the loop runs; here the loop waits."""
    blockbuster.deactivate()


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    recovered, rows = await reopened(
        tmp_path, [stored(1, 1, 3)], [stored(2, 4, is_synced=False)]
    )

    assert [one.stored.payload for one in rows] == [
        stored(1, 1, 3).payload,
        stored(2, 4).payload,
    ]
    assert [one.shares for one in rows] == [[Share(1, 3)], [Share(4, 1)]]
    assert (recovered.epoch, recovered.next_id, recovered.next_row) == (2, 5, 3)


async def test_every_fact_has_its_effect(tmp_path: Path) -> None:
    error: dict[str, object] = {"type": "ValueError", "text": "\ud800"}
    facts: list[list[Fact]] = [
        [stored(1, 1, 8), stored(2, 9), stored(3, 10)],
        [
            Changed(1, 1, 8, 1, 0),
            Gone(1, 1, 2),
            Changed(1, 3, 1, 2, 1, errors=(error,)),
        ],
        [RowGone(2), Gone(1, 7, 2), Paused("mule", is_paused=True)],
        [stored(4, 7, is_kept=True, due_at=200.0), Changed(4, 7, 1, 1, 0, 300.0)],
        [Buried(letter(50)), Buried(letter(51)), Paused("farm:x", is_paused=True)],
        [DeadGone((50,)), Buried(letter(52)), Paused("mule", is_paused=False)],
    ]

    recovered, rows = await reopened(tmp_path, *facts)

    assert [one.stored.row for one in rows] == [1, 3, 4]
    assert rows[0].shares == [Share(3, 1, 2, 1, errors=(error,)), Share(4, 3, 1)]
    (share,) = rows[2].shares
    assert share.due_at == pytest.approx(300.0)
    assert [one.id for one in recovered.dead] == [51, 52]
    assert recovered.dead[0].errors == letter(51).errors
    assert recovered.paused == {"farm:x"}


async def test_numbers_are_never_used_twice(tmp_path: Path) -> None:
    recovered, rows = await reopened(tmp_path, [stored(7, 70)], [RowGone(7)])

    assert rows == []
    assert (recovered.next_id, recovered.next_row) == (71, 8)


async def test_message_ids_are_kept_for_the_window(tmp_path: Path) -> None:
    now = asyncio.get_running_loop().time()
    keeper = Keeper(tmp_path, seen_window_s=60)
    keeper.open()
    await keeper.write(
        stored(1, message_id="\ud800 old", at=now - 61),
        stored(2, message_id="\ud800", at=now - 50),
        stored(3, 2, message_id="\ud800", at=now - 50, is_kept=True),
    )
    await keeper.write(RowGone(2), RowGone(3))
    await keeper.close()

    again = Keeper(tmp_path, seen_window_s=60)
    recovered = again.open()
    await again.close()

    (seen,) = recovered.seen
    assert (seen.queue, seen.message_id, seen.id) == ("farm:busy", "\ud800", 2)
    assert seen.at == pytest.approx(now - 50, abs=0.01)
    assert [one.stored.message_id for one in again.rows] == ["\ud800 old"]


async def test_times_are_given_back_in_the_clock_of_the_reader(tmp_path: Path) -> None:
    row = stored(1, at=1234.5, due_at=1e300)

    _, (found,) = await reopened(tmp_path, [row])

    assert found.stored.accepted_at == pytest.approx(1234.5, abs=0.1)
    assert found.shares[0].due_at == pytest.approx(7e9, rel=1e-3)


async def test_a_second_journal_is_refused_with_the_pid_of_the_first(
    tmp_path: Path,
) -> None:
    keeper = Keeper(tmp_path)
    keeper.open()

    with pytest.raises(JournalInUseError) as caught:
        Journal(tmp_path, print, print).open()

    assert caught.value.pid == os.getpid()
    await keeper.write(stored(1))
    await keeper.close()
    assert keeper.stored == [1]


async def test_files_are_for_their_user_only(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    umask = os.umask(0)
    try:
        keeper = Keeper(state_dir)
        keeper.open()
        await keeper.write(stored(1))
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in state_dir.iterdir()
        }
        await keeper.close()
    finally:
        os.umask(umask)

    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}
    assert {"journal.db", "journal.db-wal", "journal.lock", "journal.reserve"} == set(
        modes
    )


async def test_a_journal_that_was_replaced_fails(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.open()
    (tmp_path / "journal.db").rename(tmp_path / "elsewhere")
    (tmp_path / "journal.db").touch()

    await keeper.write(stored(1))
    while not keeper.failures:
        await keeper.write(stored(2 + len(keeper.stored)))

    (failure,) = keeper.failures
    assert isinstance(failure, JournalFailedError)
    assert "replaced" in str(failure)
    await keeper.close()


async def test_status_is_told(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    assert keeper.journal.describe() == {"path": str(tmp_path / "journal.db")}
    keeper.open()
    await keeper.write(stored(1), stored(2))
    await keeper.write(RowGone(1))

    told = keeper.journal.describe()

    assert (told["rows"], told["full"], told["epoch"]) == (1, False, 1)
    await keeper.close()


CHILD = """
import asyncio, os, sys
from pathlib import Path
from pymule.master.journal import Journal
from tests.chaos.disk import small_disk, why_no_mounts
from tests.conftest import wait_until
from tests.master.conftest import Logged
from tests.master.journaling import stored
async def main():
    confirmed = os.fdopen(1, "wb", buffering=0)
    row = [1]
    def progress(done):
        for number in done.stored:
            confirmed.write(b"%d\\n" % number)
            more()
    def more():
        journal.write([stored(row[0], size=800, is_synced=sys.argv[2] == "disk")])
        row[0] += 1
    journal = Journal(Path(sys.argv[1]), progress, print)
    recovered = journal.open()
    list(recovered.rows)
    row[0] = recovered.next_row
    journal.start(asyncio.get_running_loop())
    for _ in range(20):
        more()
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["process", "disk"])
def test_what_was_confirmed_survives_a_kill(tmp_path: Path, mode: str) -> None:
    confirmed: list[int] = []
    for round_ in range(5):
        child = subprocess.Popen(  # noqa: S603  (our own script)
            [sys.executable, "-c", CHILD, str(tmp_path), mode], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        confirmed += [int(child.stdout.readline()) for _ in range(50 + 37 * round_)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split(b"\n")[:-1]
        confirmed += map(int, rest)
        child.wait()
        child.stdout.close()

    journal = Journal(tmp_path, print, print)
    recovered = journal.open()
    rows = {one.stored.row for one in recovered.rows}
    is_shared = (tmp_path / "journal.db-shm").exists()
    asyncio.run(journal.close())

    assert len(confirmed) == len(set(confirmed))
    assert set(confirmed) <= rows
    assert recovered.epoch == 6
    assert recovered.next_row > max(rows)
    assert not is_shared


def test_no_other_process_can_open_the_database(tmp_path: Path) -> None:
    journal = Journal(tmp_path, print, print)
    journal.open()

    with (
        pytest.raises(sqlite3.OperationalError, match="locked"),
        sqlite3.connect(tmp_path / "journal.db", timeout=0) as other,
    ):
        other.execute("SELECT * FROM meta")

    other.close()
    asyncio.run(journal.close())


# Faults between two masters


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("PRAGMA user_version = 3", JournalFormatError),
        ("DELETE FROM meta", JournalDamagedError),
        ("DROP TABLE seen", JournalDamagedError),
    ],
)
def test_what_cannot_be_opened_lets_go_of_everything(
    tmp_path: Path, sql: str, error: type[Exception]
) -> None:
    asyncio.run(reopened(tmp_path, [stored(1)]))
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute(sql)
    other.close()
    fds = open_fds()

    for _ in range(2):
        with pytest.raises(error):
            Journal(tmp_path, print, print).open()

    assert open_fds() == fds


def open_fds() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


async def test_rows_of_which_nothing_is_left_go_with_the_next_start(
    tmp_path: Path,
) -> None:
    _, rows = await reopened(tmp_path, [stored(1), stored(2)], [Gone(1, 1, 1)])
    assert [one.stored.row for one in rows] == [2]

    with sqlite3.connect(tmp_path / "journal.db") as other:
        assert other.execute("SELECT row FROM rows").fetchall() == [(2,)]
    other.close()


async def test_reading_twice_gives_the_same_as_reading_once(tmp_path: Path) -> None:
    _, once = await reopened(
        tmp_path,
        [stored(1, 1, 5), stored(2, 6)],
        [Changed(1, 1, 2, 1, 0), Gone(1, 5, 1)],
    )

    _, twice = await reopened(tmp_path)

    assert [one.shares for one in twice] == [one.shares for one in once]
    assert [one.stored.payload for one in twice] == [one.stored.payload for one in once]


def cut(wal: bytes, place: int) -> bytes:
    return wal[:place]


def tear(wal: bytes, place: int) -> bytes:
    """Leave out one sector, as a disk can that writes in an order of its own."""
    start = place // 512 * 512
    return wal[:start] + bytes(512) + wal[start + 512 :]


@pytest.mark.parametrize("harm", [cut, tear])
def test_a_wal_that_is_not_whole_gives_what_was_written_before(
    tmp_path: Path, logged: Logged, harm: Callable[[bytes, int], bytes]
) -> None:
    state_dir = tmp_path / "state"
    child = subprocess.Popen(  # noqa: S603  (our own script)
        [sys.executable, "-c", CHILD, str(state_dir), "disk"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(100):
        child.stdout.readline()
    child.kill()
    child.communicate()
    wal = (state_dir / "journal.db-wal").read_bytes()
    database = (state_dir / "journal.db").read_bytes()
    chosen = random.Random(3)  # noqa: S311  (a seed is wanted)
    read = []

    for place in sorted(chosen.randrange(len(wal)) for _ in range(25)):
        if (harmed := harm(wal, place)) == wal:
            # That sector is zeros.
            continue
        (state_dir / "journal.db").write_bytes(database)
        (state_dir / "journal.db-wal").write_bytes(harmed)
        journal = Journal(state_dir, print, print)
        rows = [one.stored.row for one in journal.open().rows]
        asyncio.run(journal.close())
        read.append(len(rows))

        assert rows == list(range(1, len(rows) + 1))

    assert read == sorted(read)
    assert read[-1] > 10
    # Behind a torn sector are transactions that were confirmed; a cut leaves none.
    assert bool(logged("journal ends early")) is (harm is tear)


def test_a_kill_alone_loses_no_transaction(tmp_path: Path, logged: Logged) -> None:
    asyncio.run(reopened(tmp_path / "state", [stored(1)]))
    child = subprocess.Popen(  # noqa: S603  (our own script)
        [sys.executable, "-c", CHILD, str(tmp_path / "state"), "process"],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    for _ in range(300):
        child.stdout.readline()
    child.kill()
    child.communicate()

    asyncio.run(reopened(tmp_path / "state"))

    assert logged("journal ends early") == []


REBUILDER = """
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_start import open_file, rebuild
lock = JournalLock.take(Path(sys.argv[1]))
open_file(lock).close()
print(flush=True)
while True:
    rebuild(lock)
"""


def test_a_kill_while_it_is_written_anew_costs_nothing(tmp_path: Path) -> None:
    asyncio.run(
        reopened(tmp_path, [stored(number, size=8000) for number in range(1, 200)])
    )
    chosen = random.Random(5)  # noqa: S311  (a seed is wanted)

    for _ in range(15):
        child = subprocess.Popen(  # noqa: S603  (our own script)
            [sys.executable, "-c", REBUILDER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(chosen.uniform(0.0, 0.05))
        child.kill()
        child.communicate()

        journal = Journal(tmp_path, print, print)
        assert len(list(journal.open().rows)) == 199
        asyncio.run(journal.close())


def test_a_damaged_journal_is_refused_or_salvaged(
    tmp_path: Path, logged: Logged
) -> None:
    asyncio.run(reopened(tmp_path, [stored(1), stored(2)]))
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute("UPDATE rows SET count = 7 WHERE row = 1")
    other.close()

    refusing = Journal(tmp_path, print, print)
    with pytest.raises(JournalDamagedError, match="row 1"):
        list(refusing.open().rows)
    asyncio.run(refusing.close())
    salvaging = Journal(tmp_path, print, print, on_damage="salvage")
    rows = list(salvaging.open().rows)
    asyncio.run(salvaging.close())

    assert [one.stored.row for one in rows] == [2]
    assert salvaging.salvage is not None
    (event,) = logged("journal salvaged")
    assert event["messages"] == 1
    assert event["lost"] == ["row 1: the CRC-32 does not fit"]
    assert Path(str(event["kept_as"])).exists()


def test_a_journal_without_damage_is_not_salvaged(tmp_path: Path) -> None:
    asyncio.run(reopened(tmp_path, [stored(1)]))
    journal = Journal(tmp_path, print, print, on_damage="salvage")

    rows = list(journal.open().rows)
    asyncio.run(journal.close())

    assert len(rows) == 1
    assert journal.salvage is None
    assert list(tmp_path.glob("journal.damaged*")) == []


# A full disk


@pytest.fixture
def small() -> Iterator[Path]:
    """A disk of 12 MiB."""
    if (reason := why_no_mounts()) is not None:
        pytest.skip(reason)
    with small_disk(12 * 1024 * 1024) as path:
        yield path


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass


def test_a_full_disk_at_the_start_is_told_with_its_place(small: Path) -> None:
    fill(small / "ballast")

    with pytest.raises((StorageFullError, JournalSetupError), match=str(small)):
        Journal(small / "state", print, print).open()


def test_a_start_on_a_full_disk_uses_the_reserve(small: Path) -> None:
    asyncio.run(reopened(small / "state", [stored(1)]))
    fill(small / "ballast")
    (small / "ballast").chmod(0o600)

    recovered, rows = asyncio.run(reopened(small / "state"))

    assert [one.stored.row for one in rows] == [1]
    assert recovered.epoch == 4


async def test_refused_rows_are_logged_once_and_room_too(
    small: Path, logged: Logged
) -> None:
    keeper = Keeper(small / "state")
    keeper.open()
    for number in range(1, 20):
        await keeper.write(stored(number, size=1_000_000))
    accepted = list(keeper.stored)

    await keeper.write(*(RowGone(number) for number in accepted))
    await wait_until(lambda: logged("journal has room again"))
    await keeper.write(stored(30, size=1_000_000))
    await keeper.close()

    assert 1 < len(accepted) < 12
    assert keeper.stored == [*accepted, 30]
    assert len(logged("journal full")) == 1
