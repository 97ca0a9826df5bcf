"""The blocking twins of the names in :mod:`pymule`, for any thread."""

from pymule.mule.process import in_farm, mule_id
from pymule.mule.sync import farm_get_msg, messages, mule_get_msg, receive

__all__ = (
    "farm_get_msg",
    "in_farm",
    "messages",
    "mule_get_msg",
    "mule_id",
    "receive",
)
