"""A storage in a bucket of Amazon S3 or of a server that speaks its protocol, through obstore."""

import contextlib
import functools
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from backstay.domain.errors import ObjectExists, ObjectNotFound, StorageError, StorageUnavailable, UsageError
from backstay.storage.file_bytes import views_of
from backstay.storage.interface import Buffer, ObjectInfo, Storage
from backstay.storage.names import check_name, check_prefix, is_part
from backstay.storage.s3_errors import NO_KEYS, code_of, s3_error, status_of
from backstay.storage.s3_location import S3Location

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig, S3Config

_CONNECT_SECONDS = 10.0
_LARGE = 1 << 20
_LARGE_PUT_SECONDS = 1800.0
_LARGEST = 5 << 30  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html: one PUT
_FAILURES = (BaseError, OSError, ValueError)
_KEY_SOURCES = (
    *("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_SKIP_SIGNATURE"),
)


class S3Storage(Storage):
    """Objects are the keys below one prefix of a bucket, named as they are.

    A put is one PUT with `If-None-Match: *` (RFC 9110, 13.1.2), which the server answers only when
    the object is durable, so `sync` has nothing to do. The buffers go to the network as they are,
    none is copied; each is read once more for the signature (SHA-256), which lets the server refuse
    what was altered on its way.

    Keys come from the environment, from a web identity, or from the machine on AWS: what the
    AWS_ variables say. Nothing is asked of the server before the first operation.

    Args:
        location: where.
        patience: seconds that the server may be silent. A put larger than 1 MiB may take half an hour.

    Raises:
        StorageError: there is no key, or a variable of the environment cannot be understood.
    """

    def __init__(self, location: S3Location, *, patience: float = 60.0) -> None:
        self._at = location
        self._patience = timedelta(seconds=patience)
        if location.endpoint and not any(os.environ.get(name) for name in _KEY_SOURCES):
            raise StorageError(f"cannot open {location}: {NO_KEYS.reason}", hint=NO_KEYS.hint)
        self._store = self._client({"read_timeout": self._patience, "timeout": timedelta(days=1)})

    @functools.cached_property
    def _sender(self) -> S3Store:
        # Its silence counts from the first byte sent, and a slow line may need long for a pack.
        return self._client({"timeout": timedelta(seconds=_LARGE_PUT_SECONDS)})

    def _client(self, options: "ClientConfig") -> S3Store:
        options["connect_timeout"] = timedelta(seconds=min(_CONNECT_SECONDS, self._patience.total_seconds()))
        config: S3Config = {"region": self._at.region}
        if self._at.endpoint:
            config["aws_endpoint_url_s3"] = self._at.endpoint
            options["allow_http"] = self._at.endpoint.startswith("http://")
        authorities = os.environ.get("AWS_CA_BUNDLE")
        if authorities and self._at.endpoint.startswith("https://"):
            options["root_certificate"] = _read_authorities(Path(authorities))
        with self._explaining(f"open {self._at}"):
            return S3Store(
                self._at.bucket,
                prefix=self._at.prefix or None,
                config=config,
                disable_bulk_delete=True,  # not every server has it, and it gains nothing for one object
                client_options=options,
                retry_config={"max_retries": 0},  # RetryingStorage is the one that tries again
            )

    @property
    def location(self) -> str:
        """The URL, with the endpoint and the region, without keys."""
        return self._at.url

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put, up to 5 GiB; durable when it returns."""
        check_name(name)
        views = views_of(data)
        size = sum(view.nbytes for view in views)
        if size > _LARGEST:
            raise StorageError(f"cannot store {name} in {self._at}: it is larger than 5 GiB")
        store = self._sender if size > _LARGE else self._store
        for _ in range(3):
            with self._explaining(f"store {name} in {self._at}"):
                try:
                    obstore.put(store, name, views or b"", mode="create", use_multipart=False)
                    return
                except AlreadyExistsError:
                    pass
            # Either somebody put it before, or this very put, whose answer was lost.
            with contextlib.suppress(ObjectNotFound):
                if not self._holds_exactly(name, views, size):
                    raise ObjectExists(name)
                return
        raise StorageUnavailable(
            f"cannot store {name} in {self._at}: its name is taken, yet there is nothing to read",
            hint="look for another process that keeps deleting it",
        )

    def _holds_exactly(self, name: str, views: Sequence[memoryview], size: int) -> bool:
        with self._object(name):
            found = obstore.get(self._store, name)
            if found.meta["size"] != size:
                return False
            left = iter(views)
            view = memoryview(b"")
            for piece in found.stream(min_chunk_size=_LARGE):
                stored = memoryview(piece)
                while stored.nbytes:
                    if not view.nbytes:
                        view = next(left)
                    count = min(stored.nbytes, view.nbytes)
                    if stored[:count] != view[:count]:
                        return False
                    stored, view = stored[count:], view[count:]
            return True

    def probe(self) -> None:
        """As Storage.probe: some servers take a create-only put and ignore that it is one."""
        name = f"probe/{secrets.token_hex(16)}"
        self.put(name, [b"first"])
        try:
            self.put(name, [b"second"])
        except ObjectExists:
            return
        finally:
            with contextlib.suppress(StorageError):  # a key that may not delete may make a repository
                self.delete(name)
        raise StorageError(
            f"{self._at.server} cannot hold a repository: it replaced an object that it was told "
            "not to replace (it ignores If-None-Match)",
            hint="use a server that honours conditional writes, as Amazon S3, MinIO, Ceph or SeaweedFS do",
        )

    def sync(self) -> None:
        """Nothing to do: what was answered is durable."""

    def secure(self, name: str) -> None:
        """Nothing to do, as for `sync`."""
        check_name(name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length cannot be negative")
        check_name(name)
        if length == 0:
            self.size(name)
            return b""
        with self._object(name):
            try:
                return self._fetch(name, offset, length).bytes().to_bytes()
            except BaseError as error:
                if status_of(error) != 416:  # RFC 9110, 15.5.17: nothing of the object lies in the range
                    raise
                return b""

    def _fetch(self, name: str, offset: int, length: int | None) -> "GetResult":
        options: GetOptions = {}
        if length is not None:
            options["range"] = (offset, offset + length)
        elif offset:
            options["range"] = {"offset": offset}
        return obstore.get(self._store, name, options=options)

    def size(self, name: str) -> int:
        """As Storage.size."""
        check_name(name)
        with self._object(name):
            return self._head(name)["size"]

    def _head(self, name: str) -> "ObjectMeta":
        try:
            return obstore.head(self._store, name)
        except _FAILURES as error:
            if not status_of(error):
                raise
            # The answer to a HEAD has no body that could say why (RFC 9110, 9.3.2); a GET's has.
            return obstore.get(self._store, name).meta

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        try:
            self.size(name)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list: lazily, a page of a thousand at a time. Times are the server's."""
        check_prefix(prefix)
        with self._explaining(f"list {prefix or 'all objects'} in {self._at}"):
            for page in obstore.list(self._store, prefix or None, chunk_size=1000):
                for meta in page:
                    name = meta["path"]
                    if name.startswith(prefix) and all(map(is_part, name.split("/"))):
                        yield ObjectInfo(name, meta["size"], meta["last_modified"].timestamp())

    def delete(self, name: str) -> None:
        """As Storage.delete."""
        check_name(name)
        with self._explaining(f"delete {name} in {self._at}"):
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError as error:
                if code_of(error) == "NoSuchBucket":
                    raise

    def free_bytes(self) -> int | None:
        """None: S3 has no such question."""
        return None

    @contextlib.contextmanager
    def _object(self, name: str) -> Iterator[None]:
        with self._explaining(f"read {name} in {self._at}"):
            try:
                yield
            except FileNotFoundError as error:
                if code_of(error) == "NoSuchBucket":
                    raise
                raise ObjectNotFound(name) from None

    @contextlib.contextmanager
    def _explaining(self, doing: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise s3_error(error, doing, self._at) from error


def _read_authorities(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the certificates in {file} cannot be read: {error.strerror}",
            hint="correct or remove the variable AWS_CA_BUNDLE",
        ) from None
