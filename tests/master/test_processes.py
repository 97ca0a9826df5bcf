"""What processes print, and what they leave behind."""

import os
import signal
from pathlib import Path

from tests.master.conftest import Logged
from tests.master.harness import Yard, a_plan, a_spec, until


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_what_a_mule_prints_is_a_field_of_a_constant_event(
    yard: Yard, logged: Logged
) -> None:
    program = 'print("mule exited mule=2 status=0", file=sys.stderr, flush=True)\n'

    await yard.open_ready(a_plan(a_spec(1, program + "be_ready(); rest()")))

    await until(lambda: logged("mule output"))
    assert logged("mule output") == [
        {
            "mule": 1,
            "name": "stand-in 1",
            "stream": "stderr",
            "line": "mule exited mule=2 status=0",
        }
    ]
    assert logged("mule exited") == []


async def test_a_mule_that_dies_takes_the_children_of_its_group_along(
    yard: Yard, socket_dir: Path, logged: Logged
) -> None:
    program = f"""
be_ready()
child = os.fork()
if not child:
    rest()
with open("{socket_dir}/child.new", "w") as file:
    file.write(str(child))
os.rename("{socket_dir}/child.new", "{socket_dir}/child")
rest()
"""
    await yard.open_ready(a_plan(a_spec(1, program)))
    await until((socket_dir / "child").exists)
    child = int((socket_dir / "child").read_text())
    pid = yard.pid()
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    await until(lambda: logged("mule exited"))

    # As a zombie it may wait for whoever inherits it.
    stat = Path(f"/proc/{child}/stat")
    await until(lambda: is_gone(child) or ") Z " in stat.read_text())
