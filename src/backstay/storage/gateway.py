"""A repository that is reached through the server: every object goes over the agent's connection.

The server decides what the agent may put, see and fetch; what it refuses comes back as an error of the tree.
Puts are durable when they return, so `sync` has nothing left to do.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from backstay.domain.errors import ObjectNotFound, StorageError, StorageUnavailable
from backstay.storage.interface import Buffer, ObjectInfo, Storage
from backstay.storage.names import check_name, check_prefix

_NOT_FOUND = 404

_Decoded = TypeVar("_Decoded")


class Answer(NamedTuple):
    """What the server answered: status, headers with names in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Channel(Protocol):
    """The agent's connection to the server, for one job. Safe to use from several threads."""

    @property
    def url(self) -> str:
        """The server's address."""

    def send(
        self,
        method: str,
        path: str,
        body: Sequence[Buffer] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, and return its answer if it is a success or 404.

        Raises:
            StorageUnavailable: the server could not be reached, or cannot do it now.
            StorageFull, ObjectExists, StorageError: it refused.
        """

    def send_to_store(self, url: str, headers: Mapping[str, str], body: Sequence[Buffer]) -> int:
        """Send a presigned PUT straight to the store, and return the status of its answer.

        Raises:
            StorageUnavailable: the store could not be reached.
        """


class Listed(msgspec.Struct, array_like=True, frozen=True):
    """A line of a listing as it is sent; `content` where it was asked for."""

    name: str
    size: int
    modified: float
    content: bytes = b""


class Latest(msgspec.Struct, array_like=True, frozen=True):
    """The latest restore point of a job's set as it is sent: its id, and its number in the chain."""

    id: bytes
    sequence: int


class Signed(msgspec.Struct, array_like=True, frozen=True):
    """A presigned PUT as it is sent: its address, and the headers it must have."""

    url: str
    headers: dict[str, str]


_STORED = {200, 201, 204, 409, 412}

_signed = msgspec.msgpack.Decoder(Signed)
_latest: msgspec.msgpack.Decoder[Latest | None] = msgspec.msgpack.Decoder(Latest | None)
_listing = msgspec.msgpack.Decoder(list[Listed])


class GatewayStorage(Storage):
    """The storage behind the server, as far as a job may use it.

    Args:
        channel: the connection.
        direct: packs go straight to the store, by requests that the server signs.
    """

    def __init__(self, channel: Channel, *, direct: bool = False) -> None:
        self._channel = channel
        self._direct = direct

    @property
    def location(self) -> str:
        """The server's address."""
        return self._channel.url

    def probe(self) -> None:
        """Nothing: the server has probed its storage."""

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put, and durable."""
        check_name(name)
        if self._direct and name.startswith("packs/"):
            self._put_direct(name, data)
        else:
            self._channel.send("PUT", f"objects/{name}", data)

    def _put_direct(self, name: str, data: Sequence[Buffer]) -> None:
        answer = self._channel.send("POST", f"presigned/{name}")
        signed = _decoded(_signed, answer.body, name)
        status = self._channel.send_to_store(signed.url, signed.headers, data)
        # 412 and 409: it is there already, as after a put whose answer was lost; the server looks at it.
        if status not in _STORED:
            raise StorageUnavailable(
                f"the store answered {status} to a presigned put of {name}",
                hint="check that file servers reach the store, and that its clock is right",
            )
        self._channel.send("POST", f"stored-directly/{name}")

    def sync(self) -> None:
        """Nothing: every put was durable when it returned."""

    def secure(self, name: str) -> None:
        """Nothing: what the server shows is durable."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        if length == 0:
            return b""
        headers = {}
        if offset or length is not None:
            headers["range"] = f"bytes={offset}-{offset + length - 1 if length is not None else ''}"
        answer = self._channel.send("GET", f"objects/{check_name(name)}", (), headers)
        if answer.status == _NOT_FOUND:
            raise ObjectNotFound(name)
        return answer.body

    def size(self, name: str) -> int:
        """As Storage.size."""
        answer = self._channel.send("HEAD", f"objects/{check_name(name)}")
        if answer.status == _NOT_FOUND:
            raise ObjectNotFound(name)
        try:
            return int(answer.headers["x-backstay-size"])
        except (KeyError, ValueError):
            raise StorageUnavailable(f"the server did not tell the size of {name}") from None

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        return self._channel.send("HEAD", f"objects/{check_name(name)}").status != _NOT_FOUND

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list, of what the job may see."""
        for listed in self._listed(prefix, content=False):
            yield ObjectInfo(listed.name, listed.size, listed.modified)

    def contents(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix with its content, in one answer: for small ones."""
        return {listed.name: listed.content for listed in self._listed(prefix, content=True)}

    def _listed(self, prefix: str, *, content: bool) -> "Sequence[Listed]":
        path = f"list/{check_prefix(prefix)}" + ("?content=1" if content else "")
        body = self._channel.send("GET", path).body
        return _decoded(_listing, body, prefix)

    def delete(self, name: str) -> None:
        """Refused: agents delete nothing. Raises StorageError."""
        raise StorageError(
            f"{name} cannot be deleted: an agent deletes nothing",
            hint="the server's retention and prune decide what is taken out",
        )

    def free_bytes(self) -> int | None:
        """Unknown here: the server watches its storage."""
        return None

    def stored(self, ids: Sequence[bytes]) -> Sequence[bool]:
        """Which of these blobs are in the repository already, as far as this agent may rely on them."""
        body = self._channel.send("POST", "stored", [b"".join(ids)]).body
        if len(body) != len(ids):
            raise StorageUnavailable("the server's answer about stored blobs has another length")
        return [answer == 1 for answer in body]

    def latest(self) -> Latest | None:
        """The latest restore point of the job's set, be its manifest there or lost; None: there is none."""
        answer = self._channel.send("GET", "latest")
        if answer.status == _NOT_FOUND:
            # A server of before there was this question.
            return None
        return _decoded(_latest, answer.body, "the latest restore point")

    def data_key(self, pack: str, sealed_key: bytes) -> bytes:
        """The data key sealed in a pack (hexadecimal digest) that the restore needs. Raises StorageError."""
        return self._channel.send("POST", "data-key", [sealed_key], {"x-backstay-pack": pack}).body


def _decoded(decoder: "msgspec.msgpack.Decoder[_Decoded]", body: bytes, name: str) -> _Decoded:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise StorageUnavailable(f"the server's answer about {name} cannot be read: {error}") from None
