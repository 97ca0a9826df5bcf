import asyncio
from pathlib import Path

import pytest

from pymule.master.filemon import FileMonitors
from pymule.master.touch import TouchReload
from tests.conftest import wait_until
from tests.master.conftest import Logged


class Reloads:
    """Counts reloads, and is in one when the test says so."""

    def __init__(self) -> None:
        self.count = 0
        self.is_under_way = False
        self.monitors = FileMonitors(
            asyncio.get_running_loop(), lambda key, paths, _: self.changed(key, paths)
        )
        self.touch = TouchReload(self.monitors, lambda: self.is_under_way, self._reload)

    def _reload(self) -> None:
        self.count += 1

    def changed(self, key: str, paths: list[str]) -> None:
        assert self.touch.changed(key, paths)


async def test_each_path_that_is_watched_reloads_and_no_other(
    tmp_path: Path, logged: Logged
) -> None:
    old, both, new = (tmp_path / name for name in ("old", "both", "new"))
    reloads = Reloads()
    reloads.touch.watch([str(old), str(both)])
    reloads.touch.watch([str(both), str(new)])
    await reloads.monitors.settled()

    old.touch()
    both.touch()
    await wait_until(lambda: reloads.count == 1)
    new.touch()
    await wait_until(lambda: reloads.count == 2)

    assert [record["path"] for record in logged("touched")] == [str(both), str(new)]
    await reloads.monitors.close()


@pytest.mark.parametrize("touches", [1, 3])
async def test_touches_during_a_reload_are_one_more_afterwards(touches: int) -> None:
    reloads = Reloads()
    reloads.is_under_way = True

    for _ in range(touches):
        reloads.changed("touch_reload:/a", ["/a"])
    assert reloads.count == 0
    reloads.is_under_way = False
    reloads.touch.reload_ended()
    reloads.touch.reload_ended()

    assert reloads.count == 1


async def test_a_reload_that_is_asked_for_is_done_at_once_or_afterwards() -> None:
    reloads = Reloads()

    reloads.touch.reload()
    assert reloads.count == 1
    reloads.is_under_way = True
    reloads.touch.reload()
    reloads.touch.reload()
    assert reloads.count == 1
    reloads.is_under_way = False
    reloads.touch.reload_ended()

    assert reloads.count == 2


async def test_a_change_for_somebody_else_is_left_to_them() -> None:
    reloads = Reloads()

    assert not reloads.touch.changed("signal:17", ["/a"])
    assert reloads.count == 0
