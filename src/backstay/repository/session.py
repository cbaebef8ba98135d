"""Writing sessions: who is writing, so that garbage collection waits for it.

    sessions/<id>/begin           envelope b"BSSESSN1": who, where, when
    sessions/<id>/renewed-<n>     the lease, renewed
    sessions/<id>/end             how it ended; create-only, so it ends once

All ages are differences between times that the storage itself gave, so no client's
clock counts. `end` is the arbiter between a commit and a garbage collection that
gives a silent session up: only one of them can put it.
"""

import os
import socket
from typing import NamedTuple

import msgspec

from backstay.domain.errors import AlreadyRunning, DamagedObject, ObjectExists, ObjectNotFound
from backstay.repository.encryption import seal, unseal
from backstay.repository.layout import SESSIONS
from backstay.repository.wire import ShortId, decode_record
from backstay.storage.interface import Storage
from backstay.system.host import process_is_alive

KIND = b"BSSESSN1"
VERSION = 1

COLLECTOR = "prune"
"""Kind of the sessions of which there is one at a time: prune and rebuild."""

COMMITTED = b"committed"
ABANDONED = b"abandoned"
REVOKED = b"revoked"

RENEW_SECONDS = 15 * 60
"""A session renews its lease this often."""

SLACK_SECONDS = 3600
"""Storage times may differ by this much from the order of events: an object's time can be taken long before
it is there to be seen, and by another clock."""

LEASE_SECONDS = 24 * 3600
"""A session that was not renewed for this long may be revoked."""


class SessionInfo(msgspec.Struct, array_like=True, frozen=True):
    """Who writes: kind is "backup" or "prune"."""

    version: int
    id: ShortId
    kind: str
    file_server: str
    backup_set: str
    process: int
    started_ns: int


_living: set[bytes] = set()
"""Sessions of this process that are at work. One that could not put its end marker is not among them."""

_session_info = msgspec.msgpack.Decoder(SessionInfo)


class SessionState(NamedTuple):
    """A session as the storage shows it; times are the storage's, in seconds."""

    id: bytes
    began: float
    renewed: float
    ended: bool


class SessionMarker:
    """This process's own session in the storage."""

    def __init__(
        self, storage: Storage, catalogue_key: bytes, *, kind: str, backup_set: str, now_ns: int
    ) -> None:
        self.id = os.urandom(16)
        self._storage = storage
        self._folder = f"{SESSIONS}{self.id.hex()}/"
        self._renewals = 0
        info = SessionInfo(VERSION, self.id, kind, socket.gethostname(), backup_set, os.getpid(), now_ns)
        storage.put(f"{self._folder}begin", [seal(catalogue_key, KIND, msgspec.msgpack.encode(info))])
        storage.sync()
        _living.add(self.id)

    def renew(self) -> None:
        """Prolong the lease."""
        self._renewals += 1
        self._storage.put(f"{self._folder}renewed-{self._renewals}", [b"renewed"])

    def end(self, how: bytes) -> bool:
        """Put the end marker; False if the session was ended by another before.

        That it was, and that all its markers have been forgotten since, shows in `begin`,
        which goes before `end` does.
        """
        _living.discard(self.id)
        ended = end_session(self._storage, self.id, how)
        return ended and self._storage.exists(f"{self._folder}begin")

    def has_ended(self) -> bool:
        """Whether someone ended the session."""
        return self._storage.exists(f"{self._folder}end")


def end_session(storage: Storage, session: bytes, how: bytes) -> bool:
    """End a session; False if it had ended otherwise before."""
    try:
        storage.put(f"{SESSIONS}{session.hex()}/end", [how])
    except ObjectExists:
        return False
    storage.sync()
    return True


def list_sessions(storage: Storage) -> dict[bytes, SessionState]:
    """All sessions that the storage knows, by id."""
    states: dict[bytes, SessionState] = {}
    for info in storage.list(SESSIONS):
        parts = info.name.split("/")
        try:
            session = bytes.fromhex(parts[1])
        except ValueError:
            continue
        if len(parts) != 3 or len(session) != 16:
            continue
        state = states.get(session, SessionState(session, info.modified, info.modified, False))
        states[session] = SessionState(
            session,
            min(state.began, info.modified),
            max(state.renewed, info.modified),
            state.ended or parts[2] == "end",
        )
    return states


def read_session(storage: Storage, session: bytes, catalogue_key: bytes) -> SessionInfo | None:
    """Who began a session, or None where its begin marker is gone.

    Raises:
        DamagedObject, UnsupportedVersion.
    """
    name = f"{SESSIONS}{session.hex()}/begin"
    try:
        sealed = storage.get(name)
    except ObjectNotFound:
        return None
    info = decode_session(sealed, catalogue_key, name)
    if info.id != session:
        raise DamagedObject(name, "it belongs to another session")
    return info


def decode_session(sealed: bytes, catalogue_key: bytes, name: str) -> SessionInfo:
    """Who began a session, from its begin marker's bytes. Raises DamagedObject, UnsupportedVersion."""
    return decode_record(_session_info, unseal(catalogue_key, KIND, sealed, name), name, VERSION)


def refuse_second_collector(
    storage: Storage, catalogue_key: bytes, states: dict[bytes, SessionState]
) -> dict[bytes, SessionState]:
    """The states of other sessions, those of dead collectors of this machine ended.

    Raises:
        AlreadyRunning: one of them is a prune or rebuild that is still at work.
    """
    settled = dict(states)
    for state in states.values():
        info = None if state.ended else read_session(storage, state.id, catalogue_key)
        if info is None or info.kind != COLLECTOR:
            continue
        if info.file_server == socket.gethostname() and not _is_alive(info):
            end_session(storage, state.id, ABANDONED)
            settled[state.id] = state._replace(ended=True)
            continue
        raise AlreadyRunning(
            f"{info.file_server} (process {info.process}) is pruning or rebuilding this repository already",
            hint="wait until it is done; one that died on another machine is given up after a day",
        )
    return settled


def _is_alive(session: SessionInfo) -> bool:
    if session.process == os.getpid():
        return session.id in _living
    return process_is_alive(session.process)


def was_revoked(storage: Storage, session: bytes) -> bool:
    """Whether a session was given up by another."""
    try:
        return storage.get(f"{SESSIONS}{session.hex()}/end") == REVOKED
    except ObjectNotFound:
        return False


def forget_session(storage: Storage, session: bytes) -> None:
    """Delete the markers of a session that has ended.

    The end marker goes last, when the others are gone for good: without it the session
    would be open again.
    """
    end = f"{SESSIONS}{session.hex()}/end"
    for info in list(storage.list(f"{SESSIONS}{session.hex()}/")):
        if info.name != end:
            storage.delete(info.name)
    storage.sync()
    storage.delete(end)
