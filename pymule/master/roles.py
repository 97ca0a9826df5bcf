"""Who may do what: the roles of users, and the role that each act needs.

Roles are a line: each has the rights of those below it. The role of a peer follows from
the uid and the groups that the kernel tells of the process that connected, never from
what that says of itself. What is not in the table needs an admin, so a call that
somebody forgot to enter is closed, not open.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pymule.errors import NotAllowedError
from pymule.master.listener import Credentials

__all__ = (
    "NEEDED",
    "SUBMIT",
    "AccessRule",
    "Members",
    "UserRole",
    "check_role",
    "role_needed",
)


class UserRole(IntEnum):
    """What a user is to the daemon; a greater one may do all that a lesser one may."""

    NOBODY = 0
    """Is not let in."""
    READER = 1
    """Sees what there is and how it goes, never what messages and logs say."""
    SENDER = 2
    """Hands over messages, raises signals, holds locks."""
    ADMIN = 3
    """Everything: stops, reloads, reads the log, sees and removes messages."""


SUBMIT: Final = "submit"
"""The act of handing over messages, which is a verb of its own and no call."""

NEEDED: Final[Mapping[str, UserRole]] = {
    "is_locked": UserRole.READER,
    "ping": UserRole.READER,
    "signals": UserRole.READER,
    "status": UserRole.READER,
    "lock": UserRole.SENDER,
    "lock_withdraw": UserRole.SENDER,
    "raise": UserRole.SENDER,
    "register": UserRole.SENDER,
    "signal_free": UserRole.SENDER,
    SUBMIT: UserRole.SENDER,
    "timer_add": UserRole.SENDER,
    "timer_cancel": UserRole.SENDER,
    "unlock": UserRole.SENDER,
    # What a program prints may hold anything, and so may messages.
    "dead": UserRole.ADMIN,
    "dead_purge": UserRole.ADMIN,
    "dead_replay": UserRole.ADMIN,
    "dead_show": UserRole.ADMIN,
    "logs": UserRole.ADMIN,
    "pause": UserRole.ADMIN,
    "peek": UserRole.ADMIN,
    "purge": UserRole.ADMIN,
    "reload": UserRole.ADMIN,
    "resume": UserRole.ADMIN,
    "stop": UserRole.ADMIN,
}
"""The least role that may submit, or make a call, by the call's method."""

_KEYS: Final = {
    UserRole.READER: ("reader_users", "reader_groups"),
    UserRole.SENDER: ("allow_users", "allow_groups"),
    UserRole.ADMIN: ("admin_users", "admin_groups"),
}
_SHOWN_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Members:
    """The users and groups that the configuration names for one role."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()

    def has(self, who: Credentials) -> bool:
        """Tell whether *who* is named, or is in a group that is."""
        return (
            who.uid in self.users
            or who.gid in self.groups
            or not self.groups.isdisjoint(who.groups)
        )


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Which users have which role, besides root and the daemon's own user."""

    admins: Members = Members()
    senders: Members = Members()
    readers: Members = Members()

    def role_of(self, who: Credentials) -> UserRole:
        """Return the greatest role that a peer has."""
        # Whoever is the daemon's user could attach a debugger to it, or replace it.
        if who.uid in (0, os.geteuid()) or self.admins.has(who):
            return UserRole.ADMIN
        if self.senders.has(who):
            return UserRole.SENDER
        return UserRole.READER if self.readers.has(who) else UserRole.NOBODY


def role_needed(act: str) -> UserRole:
    """Return the least role that may do *act*: submit, or a call by its method."""
    return NEEDED.get(act, UserRole.ADMIN)


def check_role(role: UserRole, act: str, who: Credentials) -> None:
    """Check that *who*, whose role is *role*, may do *act*.

    Raises:
        NotAllowedError: It needs a greater role; the error says how to get that.
    """
    needed = role_needed(act)
    if role >= needed:
        return
    users, groups = _KEYS[needed]
    raise NotAllowedError(
        f"{act[:_SHOWN_CHARS]!r} needs the role {needed.name.lower()}, and user"
        f" {who.uid} is {role.name.lower()}; name it in {users}, or a group of it in"
        f" {groups}"
    )
