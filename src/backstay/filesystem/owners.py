"""Names of users and groups: from numbers for a backup, to numbers for a restore."""

import grp
import os
import pwd
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class Owners:
    """Looks up each user and group once; directories such as LDAP may be slow or not there.

    Args:
        numeric_ids: restore by number and never look at the names.
    """

    def __init__(self, *, numeric_ids: bool = False) -> None:
        self._numeric_ids = numeric_ids
        self._names: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._ids: dict[tuple[int, int, bytes, bytes], tuple[int, int]] = {}

    def names(self, uid: int, gid: int) -> tuple[bytes, bytes]:
        """The names of user and group on this machine; empty where there is none."""
        known = self._names.get((uid, gid))
        if known is None:
            known = (
                os.fsencode(_found(lambda: pwd.getpwuid(uid).pw_name, "")),
                os.fsencode(_found(lambda: grp.getgrgid(gid).gr_name, "")),
            )
            self._names[uid, gid] = known
        return known

    def ids(self, uid: int, gid: int, user: bytes, group: bytes) -> tuple[int, int]:
        """The numbers to restore: those of the names where this machine knows them, else `uid` and `gid`."""
        if self._numeric_ids or not (user or group):
            return uid, gid
        key = (uid, gid, user, group)
        known = self._ids.get(key)
        if known is None:
            known = (
                _found(lambda: pwd.getpwnam(os.fsdecode(user)).pw_uid, uid) if user else uid,
                _found(lambda: grp.getgrnam(os.fsdecode(group)).gr_gid, gid) if group else gid,
            )
            self._ids[key] = known
        return known


def _found(look_up: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return look_up()
    except (KeyError, OSError, ValueError):
        return otherwise
