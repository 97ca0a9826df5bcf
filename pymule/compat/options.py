"""``uwsgi.opt``: the settings of the daemon, in uWSGI's words."""

from collections.abc import Mapping
from typing import cast

from pymule.compat.host import ask
from pymule.sansio.verbs import JsonObject

__all__ = ("Options", "Value", "options_of", "read_options")

Value = bytes | bool | list[bytes | bool]

# There is no limit here; programs that ask want to know which numbers they may use.
_LOCKS = b"256"


class Options(dict[str, Value]):
    """Options by name; ``bytes`` find them too, as old programs ask."""

    def __getitem__(self, key: str | bytes) -> Value:
        return super().__getitem__(_text(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(_text(key))

    def get(  # type: ignore[override]  # bytes too
        self, key: str | bytes, default: object = None, /
    ) -> object:
        """Return the option *key*, or *default*."""
        return super().get(_text(key), cast("Value", default))


def _text(key: object) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


def read_options() -> Options:
    """Return what the master tells of its mules and farms.

    Raises:
        ConnectionLostError: It is not there.
    """
    rows: list[object] = []
    after: object = None
    while True:
        answer = ask("status", sections=["mules"], after=after)
        mules = answer.get("mules")
        rows += mules if isinstance(mules, list) else []
        if (after := answer.get("next")) is None:
            break
    # While a reload replaces a mule it has two rows.
    return options_of({row["id"]: row for row in rows if isinstance(row, dict)})


def options_of(mules: Mapping[object, JsonObject]) -> Options:
    """Return the options that make *mules*, rows of the status by their number."""
    options = Options(master=True, locks=_LOCKS)
    farms: dict[str, list[str]] = {}
    brains: list[bytes | bool] = []
    for number, row in sorted(mules.items(), key=lambda item: int(str(item[0]))):
        program = row["program"]
        brains.append(str(program).encode() if program else True)
        names = row["farms"]
        for name in names if isinstance(names, list) else ():
            farms.setdefault(str(name), []).append(str(number))
    if brains:
        options["mule"] = brains[0] if len(brains) == 1 else brains
        options["mules"] = str(len(brains)).encode()
    lines: list[bytes | bool] = [
        f"{name}:{','.join(members)}".encode() for name, members in farms.items()
    ]
    if lines:
        options["farm"] = lines[0] if len(lines) == 1 else lines
    return options
