"""What a mule does before its program."""

import sys

from pymule.compat import mules
from pymule.compat.finder import _finder
from pymule.compat.host import host


def test_a_prepared_mule_finds_the_old_names_and_knows_its_number() -> None:
    mules.prepare({"id": 2, "farms": ["busy"]})

    assert sys.meta_path[0] is _finder
    assert (host.mule_id, host.farms) == (2, ("busy",))
