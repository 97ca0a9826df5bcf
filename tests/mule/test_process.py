import pytest

from pymule.errors import NotInMuleError
from pymule.mule import sync
from pymule.mule.api import farm_get_msg, messages, mule_get_msg, receive
from pymule.mule.process import in_farm, mule_id, runtime
from tests.mule.conftest import Stage


def test_a_process_that_is_no_mule_has_number_0_and_no_farm() -> None:
    assert mule_id() == 0
    assert not in_farm("busy")


async def test_a_mule_knows_its_number_and_its_farms(stage: Stage) -> None:
    assert runtime("anything") is stage.runtime
    assert mule_id() == 3
    assert in_farm("busy")
    assert not in_farm("other")


async def test_asking_outside_of_a_mule_names_what_was_called() -> None:
    with pytest.raises(NotInMuleError, match=r"mule_get_msg\(\) can only be called"):
        await mule_get_msg()
    with pytest.raises(NotInMuleError, match="farm_get_msg"):
        await farm_get_msg()
    with pytest.raises(NotInMuleError, match="receive"):
        async with receive():
            pass
    with pytest.raises(NotInMuleError, match="messages"):
        await anext(messages())
    with pytest.raises(NotInMuleError, match="messages"):
        await anext(messages(concurrency=2))


def test_asking_from_a_thread_outside_of_a_mule_names_what_was_called() -> None:
    with pytest.raises(NotInMuleError, match="mule_get_msg"):
        sync.mule_get_msg()
    with pytest.raises(NotInMuleError, match="farm_get_msg"):
        sync.farm_get_msg()
    with pytest.raises(NotInMuleError, match="receive"), sync.receive():
        pass
    with pytest.raises(NotInMuleError, match="messages"):
        next(sync.messages())
