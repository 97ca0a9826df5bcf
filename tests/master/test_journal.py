"""The journal as the master sees it, on both loops."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from pymule.errors import JournalFailedError, JournalInUseError
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
