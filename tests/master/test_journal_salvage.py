"""Of a damaged journal everything that can be read is saved, and nothing invented."""

import random
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from pymule.errors import JournalDamagedError
from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_reader import Reader
from pymule.master.journal_records import Clock
from pymule.master.journal_salvage import Salvage, salvage
from pymule.master.journal_start import open_file
from pymule.master.journal_survey import open_whole, survey
from pymule.master.journal_turn import Turn, stores
from pymule.sansio.record import Buried, Changed, Fact, Gone, Paused, StoredRow
from tests.master.journaling import letter, stored

PAGE = 4096
ROWS = 150
CLOCK = Clock(1_763_000_000_000_000_000)


def facts() -> Iterator[Fact]:
    for number in range(1, ROWS + 1):
        # Every fifth has pages of its own, the others share some.
        size = 9000 if number % 5 == 0 else 400
        yield stored(number, 10 * number, 2, size=size, message_id=f"m{number}")
    for number in range(1, ROWS + 1, 3):
        yield Changed(number, 10 * number, 2, 1, 0)
        yield Gone(number, 10 * number, 1)
    for number in range(1, 31):
        yield Buried(letter(10_000 + number, size=300))
    yield Paused("mule", is_paused=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a journal that was closed."""
    state_dir = tmp_path_factory.mktemp("whole")
    lock = JournalLock.take(state_dir)
    file = open_file(lock)
    turn = Turn(facts())
    file.run(turn.statements(CLOCK, count(1)), is_synced=False)
    file.run(stores(turn.rows, CLOCK, count(1)), is_synced=False)
    file.run(
        [("UPDATE meta SET next_id = 20000, next_row = 200, epoch = 9", ())],
        is_synced=False,
    )
    file.close()
    lock.close()
    return state_dir


@pytest.fixture
def lock(whole: Path, tmp_path: Path) -> Iterator[JournalLock]:
    """The lock of a copy of it."""
    state_dir = tmp_path / "state"
    state_dir.mkdir(mode=0o700)
    shutil.copy(whole / "journal.db", state_dir / "journal.db")
    lock = JournalLock.take(state_dir)
    yield lock
    lock.close()


Content = dict[int, tuple[object, ...]]


def content(lock: JournalLock) -> tuple[Content, Content]:
    """Return rows and letters by their numbers."""
    file = open_whole(lock)
    reader = Reader(file, CLOCK)
    rows = {one.stored.row: _said(one) for one in reader.rows()}
    letters: Content = {one.id: (one,) for one in reader.dead()}
    file.close()
    return rows, letters


def _said(row: StoredRow) -> tuple[object, ...]:
    shares = tuple((one.first_id, one.count, one.attempts) for one in row.shares)
    return (row.stored.payload, shares)


def without_history(rows: Content) -> dict[int, object]:
    return {number: said[0] for number, said in rows.items()}


def damage(lock: JournalLock, place: int, data: bytes) -> None:
    with (lock.path / "journal.db").open("r+b") as file:
        file.seek(place)
        file.write(data)


def pages_of(lock: JournalLock, table: str) -> list[int]:
    """Return the offsets of the leaf pages of a table."""
    file = JournalFile(lock.path / "journal.db")
    found = file.connection.execute(
        "SELECT pgoffset FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,)
    ).fetchall()
    file.close()
    return [offset for (offset,) in found]


def saved(lock: JournalLock) -> Salvage:
    with pytest.raises(JournalDamagedError) as caught:
        open_whole(lock)
    return salvage(lock, caught.value.what)


def test_a_damaged_page_costs_what_is_on_it(lock: JournalLock) -> None:
    rows, letters = content(lock)
    first, *_, middle, _, last = pages_of(lock, "rows")
    for place in (first, middle, last):
        damage(lock, place, b"\xff" * 64)
    before = (lock.path / "journal.db").read_bytes()

    report = saved(lock)

    after, letters_after = content(lock)
    assert ROWS - 50 < len(after) < ROWS
    assert after.items() <= rows.items()
    assert letters_after == letters
    file = open_file(lock)
    assert report.messages == {"farm:busy": survey(file).queues["farm:busy"].messages}
    file.close()
    assert report.dead == 30
    assert report.lost
    assert Path(report.kept_as).read_bytes() == before


def test_a_history_that_is_lost_costs_no_message(lock: JournalLock) -> None:
    rows, _ = content(lock)
    damage(lock, pages_of(lock, "changes")[0], b"\xff" * 64)

    report = saved(lock)

    after, _ = content(lock)
    assert without_history(after) == without_history(rows)
    assert any("changes of row" in lost for lost in report.lost)


def test_one_record_that_does_not_fit_is_left_out_and_named(lock: JournalLock) -> None:
    file = JournalFile(lock.path / "journal.db")
    file.connection.execute("UPDATE rows SET count = 3 WHERE row = 77")
    file.connection.execute("UPDATE dead SET crashes = 3 WHERE id = 10003")
    file.close()

    report = saved(lock)

    rows, letters = content(lock)
    assert rows.keys() == set(range(1, ROWS + 1)) - {77}
    assert letters.keys() == set(range(10_001, 10_031)) - {10_003}
    assert report.lost == [
        "row 77: the CRC-32 does not fit",
        "dead letter 10003: the CRC-32 does not fit",
    ]


@pytest.mark.parametrize(
    ("place", "data"),
    [(0, b"XQLite"), (16, b"\x08"), (100, b"\xff" * 300), (1000, b"\xff" * 3000)],
    ids=["magic", "page size", "schema's header", "schema"],
)
def test_the_first_page_costs_nothing(
    lock: JournalLock, place: int, data: bytes
) -> None:
    rows, letters = content(lock)
    damage(lock, place, data)

    report = saved(lock)

    assert content(lock) == (rows, letters)
    assert report.lost == []


def test_tables_that_are_said_to_be_elsewhere_are_found(lock: JournalLock) -> None:
    rows, letters = content(lock)
    file = JournalFile(lock.path / "journal.db")
    file.connection.executescript(
        "PRAGMA writable_schema = ON;"
        " UPDATE sqlite_master SET rootpage = rootpage + 20 WHERE type = 'table'"
    )
    file.close()

    report = saved(lock)

    assert content(lock) == (rows, letters)
    assert report.lost == []


def test_the_count_of_starts_goes_on(lock: JournalLock) -> None:
    damage(lock, pages_of(lock, "dead")[0], b"\xff" * 64)
    saved(lock)

    file = open_file(lock)

    assert file.connection.execute("SELECT * FROM meta").fetchone() == (
        (1, 9, 20000, 200, 1)
    )
    assert file.one("SELECT queue FROM paused") == "mule"
    assert file.one("SELECT count(*) FROM seen") == ROWS
    file.close()


def test_numbers_go_far_up_when_it_is_not_known_how_far_they_were(
    lock: JournalLock,
) -> None:
    damage(lock, pages_of(lock, "meta")[0], b"\xff" * 64)

    report = saved(lock)

    file = open_file(lock)
    _, epoch, next_id, next_row, _ = file.connection.execute(
        "SELECT * FROM meta"
    ).fetchone()
    file.close()
    assert epoch > 1_700_000_000
    assert next_id > 2**32
    assert next_row > 2**32
    assert any("the count of starts" in lost for lost in report.lost)


def test_of_garbage_nothing_is_saved_and_that_is_said(lock: JournalLock) -> None:
    size = (lock.path / "journal.db").stat().st_size
    damage(lock, 0, random.Random(4).randbytes(size))  # noqa: S311  (a seed is wanted)

    report = saved(lock)

    assert content(lock) == ({}, {})
    assert report.lost
    file = open_file(lock)
    assert int(str(file.one("SELECT next_id FROM meta"))) >= 2**32
    file.close()


def test_a_journal_that_is_missing_is_made_anew(lock: JournalLock) -> None:
    (lock.path / "journal.db").rename(lock.path / "journal.db-wal")

    report = saved(lock)

    assert content(lock) == ({}, {})
    assert report.lost == ["everything: no table can be found"]


def test_a_truncated_file_gives_what_is_left(lock: JournalLock) -> None:
    rows, _ = content(lock)
    size = (lock.path / "journal.db").stat().st_size // PAGE * PAGE
    with (lock.path / "journal.db").open("r+b") as file:
        file.truncate(size // 2 // PAGE * PAGE)

    saved(lock)

    after, _ = content(lock)
    assert 0 < len(after) < ROWS
    assert without_history(after).items() <= without_history(rows).items()


def test_nothing_else_is_left_in_the_directory(lock: JournalLock) -> None:
    damage(lock, 0, b"X")

    report = saved(lock)

    names = {path.name for path in lock.path.iterdir()}
    assert names == {"journal.db", "journal.lock", Path(report.kept_as).name}


@pytest.mark.parametrize("seed", range(8))
def test_any_flipped_bit_is_harmless_or_found_and_what_is_saved_is_true(
    whole: Path, tmp_path: Path, seed: int
) -> None:
    lock = JournalLock.take(tmp_path)
    original = (whole / "journal.db").read_bytes()
    path = tmp_path / "journal.db"
    path.write_bytes(original)
    rows, letters = content(lock)
    chosen = random.Random(seed)  # noqa: S311  (a seed is wanted)
    found = 0
    for _ in range(25):
        flipped = bytearray(original)
        flipped[chosen.randrange(len(original))] ^= 1 << chosen.randrange(8)
        path.write_bytes(flipped)
        path.with_name("journal.db-wal").unlink(missing_ok=True)
        try:
            assert content(lock) == (rows, letters)
        except JournalDamagedError as exc:
            found += 1
            report = salvage(lock, exc.what)
            after, letters_after = content(lock)
            assert without_history(after).items() <= without_history(rows).items()
            assert letters_after.items() <= letters.items()
            assert len(after) + len(letters_after) >= ROWS + 30 - 25 or report.lost
            Path(report.kept_as).unlink()

    assert found > 5
    lock.close()
