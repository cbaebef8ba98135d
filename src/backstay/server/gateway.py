"""The data path through the server: plain routes, for packs are large and come fast.

Bodies are hashed while they stream in (bodies.py) and are stored only when they are what their name says.
"""

import re
from collections.abc import Awaitable, Callable, Iterator

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from backstay.domain.errors import BackstayError, ObjectNotFound, StorageUnavailable, UsageError
from backstay.repository.layout import (
    CONFIG,
    INDEX,
    MAINTENANCE,
    MANIFESTS,
    PACKS,
    SESSIONS,
    TOMBSTONES,
    object_name,
    pack_name,
)
from backstay.server import catalogue
from backstay.server.bodies import Bodies, small_body
from backstay.server.control import Control
from backstay.server.direct_intake import DirectIntake
from backstay.server.grants import Grant, Grants, own_loose_packs, own_points, own_sessions, owns, refused
from backstay.server.intake import Intake
from backstay.server.problems import problem_of
from backstay.server.restore_access import RestoreAccess
from backstay.server.stored_blobs import Asker, StoredBlobsOfAll
from backstay.storage.gateway import Latest, Listed
from backstay.storage.interface import ObjectInfo
from backstay.storage.names import check_name, check_prefix

_MOST_IDS = 65_536
_ID_BYTES = 32
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")

Handler = Callable[[Request], Awaitable[Response]]


class Gateway:
    """Answers agents that reach the repository through this server process."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._grants = Grants(control)
        self._stored = StoredBlobsOfAll(control)
        self._intake = Intake(control)
        self._direct = DirectIntake(control)
        self._restores = RestoreAccess(control)
        self._bodies = Bodies(control.settings.folder)

    def routes(self) -> list[Route]:
        """All routes below /agent/v1/storage."""
        base = "/agent/v1/storage"
        return [
            Route(f"{base}/objects/{{name:path}}", _answering(self.put), methods=["PUT"]),
            Route(f"{base}/objects/{{name:path}}", _answering(self.get), methods=["GET", "HEAD"]),
            Route(f"{base}/list/{{prefix:path}}", _answering(self.listing), methods=["GET"]),
            Route(f"{base}/latest", _answering(self.latest), methods=["GET"]),
            Route(f"{base}/stored", _answering(self.stored), methods=["POST"]),
            Route(f"{base}/presigned/{{name:path}}", _answering(self.presign), methods=["POST"]),
            Route(f"{base}/stored-directly/{{name:path}}", _answering(self.confirm), methods=["POST"]),
            Route(f"{base}/data-key", _answering(self.data_key), methods=["POST"]),
        ]

    async def _grant_of(self, request: Request, *, fresh: bool = False) -> Grant:
        remembered = None if fresh else self._grants.remembered(request)
        if remembered is not None:
            return remembered
        return await run_in_threadpool(self._grants.of, request, fresh=fresh)

    async def put(self, request: Request) -> Response:
        """Store an object."""
        name = check_name(request.path_params["name"])
        # What makes other things count is looked at anew: the job may have been given up just now.
        fresh = not name.startswith(PACKS)
        grant = await self._grant_of(request, fresh=fresh)
        async with self._bodies.taken(request, grant.file_server_id) as body:
            await run_in_threadpool(self._intake.put, grant, name, body.parts, body.digest)
        return Response(status_code=201)

    async def get(self, request: Request) -> Response:
        """An object, or a range of it; HEAD: its size."""
        grant = await self._grant_of(request)
        name = check_name(request.path_params["name"])
        if request.method == "HEAD":
            size = await run_in_threadpool(self._size, grant, name)
            return Response(headers={"x-backstay-size": str(size)})
        offset, length = _range(request.headers.get("range", ""))
        content = await run_in_threadpool(self._get, grant, name, offset, length)
        return Response(content, media_type="application/octet-stream")

    def _size(self, grant: Grant, name: str) -> int:
        self._require_visible(grant, name)
        return self._control.repositories.get(grant.repository_id).storage.size(name)

    def _get(self, grant: Grant, name: str, offset: int, length: int | None) -> bytes:
        self._require_visible(grant, name)
        return self._control.repositories.get(grant.repository_id).storage.get(name, offset, length)

    def _require_visible(self, grant: Grant, name: str) -> None:
        """Raises Forbidden where the grant does not give the object, ObjectNotFound where it hides it."""
        folder, _, rest = name.partition("/")
        folder += "/"
        if name == CONFIG or folder in {TOMBSTONES, MAINTENANCE}:
            return
        if grant.reads:
            if folder == INDEX:
                return
            if folder == PACKS:
                self._restores.require_pack(grant, name)
                return
            if name == object_name(MANIFESTS, bytes.fromhex(grant.restore_point)):
                return
        elif folder in {SESSIONS, MANIFESTS, PACKS}:
            with self._control.database.read() as db:
                if owns(db, grant, folder, rest):
                    return
            raise ObjectNotFound(name)
        raise refused(f"{name} was to be read")

    async def listing(self, request: Request) -> Response:
        """What the job may see below a prefix, as a msgpack array of Listed."""
        grant = await self._grant_of(request)
        prefix = check_prefix(request.path_params["prefix"])
        content = request.query_params.get("content") == "1"
        rows = await run_in_threadpool(self._list, grant, prefix, content)
        return Response(msgspec.msgpack.encode(rows), media_type="application/msgpack")

    def _list(self, grant: Grant, prefix: str, content: bool) -> "list[Listed]":
        if content and not prefix.startswith((MANIFESTS, TOMBSTONES, MAINTENANCE)):
            raise refused(f"what is below {prefix} was to be read at once")
        storage = self._control.repositories.get(grant.repository_id).storage
        rows: list[Listed] = []
        for info in self._visible(grant, prefix):
            try:
                data = storage.get(info.name) if content else b""
            except ObjectNotFound:
                continue
            rows.append(Listed(info.name, info.size, info.modified, data))
        return rows

    def _visible(self, grant: Grant, prefix: str) -> "Iterator[ObjectInfo]":
        storage = self._control.repositories.get(grant.repository_id).storage
        folder = prefix.partition("/")[0] + "/"
        if folder in {INDEX, TOMBSTONES, MAINTENANCE}:
            yield from storage.list(prefix)
            return
        if folder not in {SESSIONS, MANIFESTS, PACKS} or grant.reads:
            raise refused(f"{prefix} was to be listed")
        with self._control.database.read() as db:
            if folder == PACKS:
                own = {
                    pack_name(bytes.fromhex(digest)): size
                    for digest, size in own_loose_packs(db, grant).items()
                }
            elif folder == SESSIONS:
                own = dict.fromkeys((f"{SESSIONS}{session}/" for session in own_sessions(db, grant)), 0)
            else:
                names = (object_name(MANIFESTS, bytes.fromhex(point)) for point in own_points(db, grant))
                own = dict.fromkeys(names, 0)
        for name, size in own.items():
            if not name.startswith(prefix) and not prefix.startswith(name):
                continue
            if folder == SESSIONS:
                yield from (info for info in storage.list(name) if info.name.startswith(prefix))
            else:
                yield ObjectInfo(name, size, 0.0)

    async def latest(self, request: Request) -> Response:
        """The latest restore point of the job's set, as a msgpack Latest or nil; a lost one counts."""
        grant = await self._grant_of(request, fresh=True)
        if grant.reads:
            raise refused("a restore asked for the latest restore point")
        latest = await run_in_threadpool(self._latest, grant)
        return Response(msgspec.msgpack.encode(latest), media_type="application/msgpack")

    def _latest(self, grant: Grant) -> Latest | None:
        with self._control.database.read() as db:
            row = catalogue.latest_of_set(db, grant.job_id)
        if row is None:
            return None
        catalogue.look_at_manifest(self._control, grant.repository_id, row.id)
        return Latest(bytes.fromhex(row.id), row.sequence)

    async def stored(self, request: Request) -> Response:
        """For each 32-byte id in the body a byte: 1 where the agent may rely on the blob."""
        grant = await self._grant_of(request)
        raw = b"".join((await small_body(request, _MOST_IDS * _ID_BYTES)).parts)
        if len(raw) % _ID_BYTES:
            raise UsageError("the ids of blobs are 32 bytes each")
        if grant.reads:
            raise refused("a restore asked which blobs are stored")
        ids = [raw[at : at + _ID_BYTES] for at in range(0, len(raw), _ID_BYTES)]
        stored = self._stored.of(grant.repository_id)
        asker = Asker(grant.file_server_id, grant.job_id, grant.epoch)
        answer = await run_in_threadpool(stored.stored, ids, asker)
        return Response(answer, media_type="application/octet-stream")

    async def presign(self, request: Request) -> Response:
        """A presigned request that stores one pack, as msgpack of Signed."""
        grant = await self._grant_of(request)
        name = check_name(request.path_params["name"])
        signed = await run_in_threadpool(self._direct.presign, grant, name)
        return Response(msgspec.msgpack.encode(signed), media_type="application/msgpack")

    async def confirm(self, request: Request) -> Response:
        """Look at a pack that was stored by a presigned request, and count it in."""
        grant = await self._grant_of(request)
        name = check_name(request.path_params["name"])
        await run_in_threadpool(self._direct.confirm, grant, name)
        return Response(status_code=204)

    async def data_key(self, request: Request) -> Response:
        """The data key that is sealed in a pack which the restore needs."""
        grant = await self._grant_of(request, fresh=True)
        sealed_key = b"".join((await small_body(request, 4096)).parts)
        pack = request.headers.get("x-backstay-pack", "")
        key = await run_in_threadpool(self._restores.data_key, grant, pack, sealed_key)
        return Response(key, media_type="application/octet-stream", headers={"cache-control": "no-store"})


def _answering(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BackstayError as error:
            return problem_of(error)
        except ClientDisconnect:
            return problem_of(StorageUnavailable("the agent went away in the middle"))

    return answer


def _range(header: str) -> tuple[int, int | None]:
    if not header:
        return 0, None
    match = _RANGE.fullmatch(header)
    if match is None:
        raise UsageError(f"the range {header!r} cannot be understood", hint="write bytes=first-last")
    first = int(match[1])
    return first, int(match[2]) - first + 1 if match[2] else None
