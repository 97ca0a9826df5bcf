"""Real files under a real watcher; the kernel's refusals are played."""

import asyncio
import logging
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Literal

import pytest

from pymule.master import filemon
from pymule.master.filemon import Event, FileMonitors, MakeWatcher
from pymule.sansio import watch
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged


class Told:
    """What monitors told, and the monitors."""

    def __init__(self, make_watcher: MakeWatcher | None) -> None:
        self.calls: list[tuple[str, list[str], bool]] = []
        self.monitors = FileMonitors(
            asyncio.get_running_loop(),
            lambda *call: self.calls.append(call),
            make_watcher=make_watcher,
            poll_s=20 * MS,
        )

    async def watch(self, path: Path, key: str = "it", *, deep: bool = False) -> None:
        self.monitors.add(key, str(path), recursive=deep)
        await self.monitors.settled()

    def paths(self, key: str = "it") -> set[str]:
        return {path for one, paths, _ in self.calls if one == key for path in paths}

    async def until(self, path: Path, key: str = "it") -> None:
        """Wait until a change of *path* is told, and forget it."""

        def is_told() -> bool:
            return str(path) in self.paths(key)

        try:
            await wait_until(is_told)
        except AssertionError as exc:
            raise AssertionError(f"{path} not in {self.calls}") from exc
        self.calls.clear()


def make_files(paths: Iterable[str]) -> None:
    for path in paths:
        Path(path).touch()


MakeTold = Callable[..., Told]


@pytest.fixture
async def make_told() -> AsyncIterator[MakeTold]:
    made: list[Told] = []

    def make(make_watcher: MakeWatcher | None = None) -> Told:
        made.append(Told(make_watcher))
        return made[-1]

    yield make
    for told in made:
        await told.monitors.close()


@pytest.fixture
async def told(make_told: MakeTold) -> Told:
    return make_told()


# Files


async def test_a_file_that_is_written_is_told(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    await told.watch(file)

    file.write_text("x")

    await wait_until(lambda: told.calls)
    assert told.calls == [("it", [str(file)], True)]


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.chmod(0o600),
        os.utime,
        Path.unlink,
        lambda file: file.rename(file.with_name("away")),
        lambda file: (file.unlink(), file.symlink_to("x")),
    ],
    ids=["chmod", "utime", "unlink", "rename", "link"],
)
async def test_whatever_happens_to_a_file_is_told(
    told: Told, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    file = tmp_path / "f"
    file.touch()
    await told.watch(file)

    change(file)

    await told.until(file)


async def test_a_file_that_is_only_read_is_not_told(told: Told, tmp_path: Path) -> None:
    file, sentinel = tmp_path / "f", tmp_path / "sentinel"
    file.write_text("x")
    await told.watch(file)
    await told.watch(sentinel, "sentinel")

    file.read_text()
    sentinel.touch()

    await wait_until(lambda: told.paths("sentinel"))
    assert not told.paths("it")


async def test_a_neighbour_of_a_file_is_not_told(told: Told, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    await told.watch(tmp_path / "f")
    await told.watch(sentinel, "sentinel")

    (tmp_path / "f2").touch()
    sentinel.touch()

    await wait_until(lambda: told.paths("sentinel"))
    assert not told.paths("it")


async def test_a_file_is_told_after_each_atomic_replace(
    told: Told, tmp_path: Path
) -> None:
    file, new = tmp_path / "f", tmp_path / "new"
    file.touch()
    await told.watch(file)

    for text in ("1", "2", "3"):
        new.write_text(text)
        new.replace(file)
        await told.until(file)


async def test_a_file_is_told_when_it_goes_and_when_it_comes_back(
    told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "f"
    file.touch()
    await told.watch(file)

    for _ in range(2):
        file.unlink()
        await told.until(file)
        file.touch()
        await told.until(file)


# Paths that are not there


async def test_a_file_is_told_when_it_appears_with_its_directories(
    told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "a" / "b" / "f"
    await told.watch(file)

    file.parent.mkdir(parents=True)
    file.touch()
    await told.until(file)

    file.write_text("x")
    await told.until(file)


async def test_a_file_is_told_when_its_directories_come_one_by_one(
    told: Told, tmp_path: Path
) -> None:
    file, sentinel = tmp_path / "a" / "b" / "f", tmp_path / "sentinel"
    await told.watch(file)
    await told.watch(sentinel, "sentinel")

    for directory in (file.parent.parent, file.parent):
        directory.mkdir()
        sentinel.touch()
        await told.until(sentinel, "sentinel")
    file.touch()

    await told.until(file)


async def test_a_file_is_told_when_its_directory_is_made_anew_at_once(
    told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "a" / "f"
    file.parent.mkdir()
    file.touch()
    await told.watch(file)

    for _ in range(3):
        # The new one often gets the number of the old one.
        shutil.rmtree(file.parent)
        file.parent.mkdir()
        file.touch()
        await told.until(file)
        file.write_text("x")
        await told.until(file)


async def test_a_file_is_told_when_a_directory_far_above_is_swapped(
    told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "live" / "a" / "b" / "f"
    other = tmp_path / "next" / "a" / "b" / "f"
    for one in (file, other):
        one.parent.mkdir(parents=True)
        one.touch()
    await told.watch(file)

    (tmp_path / "live").rename(tmp_path / "old")
    (tmp_path / "next").rename(tmp_path / "live")
    await told.until(file)

    file.write_text("x")
    await told.until(file)


# Directories


async def test_the_children_of_a_directory_are_told(told: Told, tmp_path: Path) -> None:
    directory = tmp_path / "d"
    (directory / "sub").mkdir(parents=True)
    await told.watch(directory)

    (directory / "sub" / "deep").touch()
    (directory / "child").touch()

    await wait_until(told.paths)
    assert told.calls == [("it", [str(directory / "child")], True)]


async def test_a_recursive_monitor_tells_what_is_deep_below(
    told: Told, tmp_path: Path
) -> None:
    directory = tmp_path / "d"
    (directory / "sub").mkdir(parents=True)
    await told.watch(directory, deep=True)

    (directory / "sub" / "x").touch()
    await told.until(directory / "sub" / "x")

    deep = directory / "sub" / "new" / "newer" / "y"
    deep.parent.mkdir(parents=True)
    deep.touch()
    await told.until(deep)

    deep.write_text("x")
    await told.until(deep)


async def test_a_file_is_told_when_it_is_renamed_into_a_directory_and_out(
    told: Told, tmp_path: Path
) -> None:
    directory, outside = tmp_path / "d", tmp_path / "f"
    directory.mkdir()
    outside.touch()
    await told.watch(directory)

    outside.rename(directory / "f")
    await told.until(directory / "f")
    (directory / "f").rename(outside)
    await told.until(directory / "f")


async def test_a_directory_that_is_touched_is_told_itself(
    told: Told, tmp_path: Path
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    await told.watch(directory)

    os.utime(directory)

    await told.until(directory)


async def test_ten_thousand_files_at_once_are_a_few_calls_with_all_paths(
    told: Told, tmp_path: Path
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    await told.watch(directory)
    paths = {f"{directory}/{number}" for number in range(10_000)}

    make_files(paths)

    await wait_until(lambda: told.paths() == paths, within=10_000 * MS)
    assert len(told.calls) < 50


async def test_more_paths_than_a_report_names_are_told_as_not_all(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(path: str, changes: watch.Changes) -> tuple[list[str], bool]:
        return watch.report(path, changes, 2)

    monkeypatch.setattr(filemon, "report", report)
    directory, source = tmp_path / "d", tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / name).touch()
    await told.watch(directory)

    source.rename(directory)

    await wait_until(lambda: told.calls)
    assert told.calls[0] == ("it", [f"{directory}/a", f"{directory}/b"], False)


# Links


async def test_a_link_is_told_when_its_target_changes_and_when_it_is_pointed_elsewhere(
    told: Told, tmp_path: Path
) -> None:
    first, second, link = tmp_path / "1" / "f", tmp_path / "2" / "f", tmp_path / "link"
    for target in (first, second):
        target.parent.mkdir()
        target.touch()
    link.symlink_to(first)
    await told.watch(link)

    first.write_text("x")
    await told.until(link)

    (tmp_path / "new").symlink_to(second)
    (tmp_path / "new").replace(link)
    await told.until(link)

    second.write_text("x")
    await told.until(link)


async def test_a_link_on_the_way_that_is_pointed_elsewhere_is_told(
    told: Told, tmp_path: Path
) -> None:
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "f").touch()
    (tmp_path / "current").symlink_to("1")
    await told.watch(tmp_path / "current" / "f")
    await told.watch(tmp_path / "current", "directory")

    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(tmp_path / "current")
    await wait_until(lambda: told.paths("directory"))
    await told.until(tmp_path / "current" / "f")

    (tmp_path / "2" / "g").touch()
    await told.until(tmp_path / "current" / "g", "directory")


async def test_a_link_to_nowhere_is_told_when_its_target_appears(
    told: Told, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a" / "f")
    await told.watch(link)

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").touch()

    await told.until(link)


# More than one monitor


async def test_two_monitors_on_one_path_and_one_around_it_are_all_told(
    told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "d" / "f"
    file.parent.mkdir()
    await told.watch(file, "one")
    await told.watch(file, "two")
    await told.watch(file.parent, "children")
    await told.watch(tmp_path, "all", deep=True)

    file.touch()

    keys = ("one", "two", "children", "all")
    await wait_until(lambda: all(str(file) in told.paths(key) for key in keys))


async def test_a_monitor_that_was_removed_is_told_nothing(
    told: Told, tmp_path: Path
) -> None:
    file, other = tmp_path / "f", tmp_path / "other"
    await told.watch(file)
    await told.watch(other, "other")

    told.monitors.remove("it")
    told.monitors.remove("it")
    file.touch()
    other.touch()

    await told.until(other, "other")
    assert not told.paths("it")


async def test_a_key_that_is_added_again_means_the_new_path(
    told: Told, tmp_path: Path
) -> None:
    await told.watch(tmp_path / "old")
    await told.watch(tmp_path / "new")

    (tmp_path / "old").touch()
    (tmp_path / "new").touch()

    await wait_until(told.paths)
    assert told.paths() == {str(tmp_path / "new")}


async def test_no_change_is_lost_while_other_monitors_come_and_go(
    told: Told, tmp_path: Path
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    await told.watch(directory)
    paths = {f"{directory}/{number}" for number in range(1000)}

    for number, path in enumerate(sorted(paths)):
        make_files([path])
        if number % 5 == 0:
            told.monitors.add("other", f"{tmp_path}/{number}/x", recursive=False)
            (tmp_path / str(number)).mkdir()
            await asyncio.sleep(0)

    await wait_until(lambda: told.paths() == paths, within=10_000 * MS)


async def test_the_thread_sleeps_when_the_last_monitor_is_gone(
    told: Told, tmp_path: Path
) -> None:
    await told.watch(tmp_path / "f")

    told.monitors.remove("it")
    await told.monitors.settled()
    await told.watch(tmp_path / "g")
    (tmp_path / "g").touch()

    await told.until(tmp_path / "g")


async def test_no_thread_is_started_without_a_monitor(told: Told) -> None:
    told.monitors.remove("unknown")
    await told.monitors.settled()
    await told.monitors.close()

    names = [thread.name for thread in threading.enumerate()]
    assert "pymule-filemon" not in names


async def test_nothing_is_told_after_the_close(told: Told, tmp_path: Path) -> None:
    await told.watch(tmp_path / "f")

    await told.monitors.close()
    (tmp_path / "f").touch()
    await told.monitors.close()

    assert not told.calls


# What the kernel refuses


def refuse(error: Exception) -> MakeWatcher:
    def make(_directories: list[str]) -> filemon.Watcher:
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (OSError("OS file watch limit reached."), "fs.inotify.max_user_watches"),
        (
            RuntimeError("Too many open files (os error 24)"),
            "fs.inotify.max_user_instances or open files",
        ),
    ],
    ids=["watches", "instances"],
)
async def test_without_inotify_one_warning_says_so_and_changes_are_still_told(
    make_told: MakeTold, tmp_path: Path, logged: Logged, error: Exception, limit: str
) -> None:
    told = make_told(refuse(error))
    await told.watch(tmp_path / "a" / "f")
    await told.watch(tmp_path, "all", deep=True)

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").touch()
    await wait_until(lambda: str(tmp_path / "a" / "f") in told.paths("all"))
    await told.until(tmp_path / "a" / "f")

    (warning,) = logged("file monitors poll")
    assert warning["limit"] == limit
    assert "sysctl -w fs.inotify" in str(warning["remedy"])


async def test_the_kernel_is_asked_again_after_some_polls(
    make_told: MakeTold,
    tmp_path: Path,
    logged: Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filemon, "_POLLS", 2)
    refusals = [OSError("full"), OSError("full")]

    def make(directories: list[str]) -> filemon.Watcher:
        if refusals:
            raise refusals.pop()
        return filemon._watch_by_kernel(directories)

    told = make_told(make)
    await told.watch(tmp_path / "f")

    await wait_until(lambda: logged("file monitors poll no more"))
    (tmp_path / "f").touch()

    await told.until(tmp_path / "f")
    assert len(logged("file monitors poll")) == 1


class Mute:
    """A watcher that loses its events; the first wait fails."""

    def __init__(self, directories: list[str]) -> None:
        self._is_new = bool(directories)

    def watch(
        self,
        debounce_ms: int,
        step_ms: int,
        timeout_ms: int,
        stop_event: threading.Event | None,
    ) -> set[Event] | Literal["signal", "stop", "timeout"]:
        del debounce_ms, step_ms, timeout_ms
        if stop_event is None:
            return "timeout"
        if self._is_new:
            self._is_new = False
            raise RuntimeError("broken")
        stop_event.wait()
        return "stop"

    def close(self) -> None:
        """Nothing is held."""


async def test_a_wait_that_fails_costs_no_change(
    make_told: MakeTold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = make_told(Mute)
    await told.watch(tmp_path / "f")

    (tmp_path / "f").touch()
    await told.monitors.settled()

    await told.until(tmp_path / "f")
    assert not caplog.records


async def test_a_table_with_room_for_one_watcher_only_is_enough(
    make_told: MakeTold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_count = 0

    class Single:
        def __init__(self, directories: list[str]) -> None:
            nonlocal open_count
            if open_count:
                raise OSError("OS file watch limit reached.")
            self._inner = filemon._watch_by_kernel(directories)
            open_count += 1
            self.watch = self._inner.watch

        def close(self) -> None:
            nonlocal open_count
            open_count -= 1
            self._inner.close()

    single = make_told(Single)
    for name in "abc":
        await single.watch(tmp_path / name / "f", name)
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").touch()
        await single.until(tmp_path / name / "f", name)
    assert not caplog.records


async def test_a_directory_that_may_not_be_read_is_named_once_and_others_are_watched(
    told: Told,
    tmp_path: Path,
    logged: Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed, file = tmp_path / "closed", tmp_path / "f"
    # root may read everything.
    monkeypatch.setattr(filemon, "_is_readable", lambda path: path != str(closed))
    closed.mkdir()
    await told.watch(closed / "f", "closed")
    await told.watch(file)

    file.touch()

    await told.until(file)
    assert logged("directory not watched") == [{"path": str(closed)}]


async def test_a_name_that_is_no_text_ends_no_watch(told: Told, tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    await told.watch(directory, deep=True)
    odd = os.fsdecode(b"\xff")

    (directory / odd).mkdir()
    (directory / odd / odd).touch()
    await told.until(directory / odd)

    (directory / "f").touch()
    await told.until(directory / "f")


async def test_a_fault_of_a_look_is_logged_and_the_watch_goes_on(
    told: Told,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compare(before: watch.Scan, after: watch.Scan) -> watch.Changes:
        if not caplog.messages:
            raise ValueError("broken")
        return watch.compare(before, after)

    await told.watch(tmp_path / "f")

    monkeypatch.setattr(filemon, "compare", compare)
    (tmp_path / "f").touch()

    await told.until(tmp_path / "f")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_directory_that_goes_before_it_is_watched_is_no_fault(
    make_told: MakeTold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()

    def make(directories: list[str]) -> filemon.Watcher:
        if not (tmp_path / "gone").exists():
            directory.rename(tmp_path / "gone")
        return filemon._watch_by_kernel(directories)

    told = make_told(make)
    await told.watch(directory / "f")
    directory.mkdir()
    (directory / "f").touch()

    await told.until(directory / "f")
    assert not caplog.records
