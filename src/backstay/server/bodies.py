"""Takes in the bodies of packs: hashed as they come, within a fixed room, and slow ones in nobody's way.

A few large bodies are kept in memory. When that room is taken, as by agents behind thin lines, the next go to
a file without a name in the server's folder. Of one file server only a few are taken at once, so that a
stolen one cannot take the room of the others; and a sender that falls silent loses its place.
"""

import asyncio
import contextlib
import mmap
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from backstay.domain.errors import StorageUnavailable, UsageError
from backstay.storage.file_bytes import write_all
from backstay.storage.interface import Buffer

MOST_BYTES = 80 << 20
SMALL_BYTES = 256 << 10
IN_MEMORY = 6
IN_FILES = 48
OF_ONE_FILE_SERVER = 4
SILENT_SECONDS = 60.0

_WRITE_BYTES = 1 << 20


class Body(NamedTuple):
    """A body as it came, and its BLAKE3."""

    parts: Sequence[Buffer]
    digest: bytes


class Bodies:
    """The room for bodies in this server process.

    Args:
        folder: for what does not go into memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory = asyncio.Semaphore(IN_MEMORY)
        self._files = asyncio.Semaphore(IN_FILES)
        self._shares: dict[int, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def taken(self, request: Request, file_server_id: int) -> AsyncIterator[Body]:
        """The body of a request; its room is free again when the context ends.

        Raises:
            UsageError: it is longer than any object.
            StorageUnavailable: the sender fell silent.
            ClientDisconnect: it went away.
        """
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MOST_BYTES:
            raise _too_long(MOST_BYTES)
        if length.isdecimal() and int(length) <= SMALL_BYTES:
            yield await small_body(request, SMALL_BYTES)
            return
        async with self._share_of(file_server_id):
            if not self._memory.locked():
                async with self._memory:
                    yield await small_body(request, MOST_BYTES)
                return
            async with self._files:
                yield await self._to_file(request)

    @contextlib.asynccontextmanager
    async def _share_of(self, file_server_id: int) -> AsyncIterator[None]:
        share, users = self._shares.get(file_server_id, (asyncio.Semaphore(OF_ONE_FILE_SERVER), 0))
        self._shares[file_server_id] = share, users + 1
        try:
            async with share:
                yield
        finally:
            share, users = self._shares.pop(file_server_id)
            if users > 1:
                self._shares[file_server_id] = share, users - 1

    async def _to_file(self, request: Request) -> Body:
        hasher: Any = blake3()
        waiting = bytearray()
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:

            async def take(piece: bytes) -> None:
                nonlocal waiting
                hasher.update(piece)
                waiting += piece
                if len(waiting) >= _WRITE_BYTES:
                    full, waiting = waiting, bytearray()
                    await run_in_threadpool(write_all, file.fileno(), [memoryview(full)])

            await _receive(request, MOST_BYTES, take)
            await run_in_threadpool(write_all, file.fileno(), [memoryview(waiting)])
            size = os.fstat(file.fileno()).st_size
            parts = [memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))] if size else []
        return Body(parts, hasher.digest())


async def small_body(request: Request, most: int) -> Body:
    """A body in memory. Raises as `Bodies.taken` does."""
    hasher: Any = blake3()
    parts: list[Buffer] = []

    async def take(piece: bytes) -> None:
        hasher.update(piece)
        parts.append(piece)

    await _receive(request, most, take)
    return Body(parts, hasher.digest())


async def _receive(request: Request, most: int, take: Callable[[bytes], Awaitable[None]]) -> None:
    size, clock = 0, asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(SILENT_SECONDS) as limit:
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise _too_long(most)
                await take(piece)
                limit.reschedule(clock() + SILENT_SECONDS)
    except TimeoutError:
        raise StorageUnavailable(
            f"the sender was silent for {SILENT_SECONDS:.0f} seconds in the middle of an object",
            hint="check the network between the file server and here; it is tried again",
        ) from None


def _too_long(most: int) -> UsageError:
    return UsageError(f"the body has more than {most} bytes", hint="that is no object of a repository")
