"""What stays with uWSGI says so."""

import pytest

from pymule.compat import uwsgi
from pymule.compat.refused import REFUSED, refusals


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_each_name_says_what_to_use_instead(name: str) -> None:
    function = getattr(uwsgi, name)

    with pytest.raises(NotImplementedError) as caught:
        function(1, key="x")

    text = str(caught.value)
    assert text.startswith(f"uwsgi.{name} is not part of pymule: ")
    assert text.endswith(REFUSED[name])


def test_nothing_is_refused_that_works() -> None:
    assert set(uwsgi.__all__).isdisjoint(refusals())
