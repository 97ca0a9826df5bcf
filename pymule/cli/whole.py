"""The whole status, of a daemon that tells it in parts."""

from pymule.cli.table import rows_of
from pymule.client.aio import Client
from pymule.sansio.verbs import JsonObject

__all__ = ("whole_status",)


async def whole_status(client: Client, *sections: str) -> JsonObject:
    """Ask until there is no more; return it as one.

    Args:
        client: Of the daemon.
        sections: Lists that are wanted; all by default.
    """
    wanted: JsonObject = {"sections": list(sections)} if sections else {}
    whole = await client.call("status", **wanted)
    # An older daemon tells all at once.
    while (after := whole.pop("next", None)) is not None:
        part = await client.call("status", **wanted, after=after)
        for name, rows in part.items():
            if isinstance(rows, list) and name != "next":
                whole[name] = [*rows_of(whole, name), *rows]
        whole["next"] = part.get("next")
    return whole
