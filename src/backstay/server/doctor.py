"""Looks at everything that a server depends on, and makes or changes nothing but a trial in the storage."""

import contextlib
import os
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import httpx
from alembic.runtime.migration import MigrationContext
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from sqlalchemy import func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backstay.domain.checkup import Check, Verdict, failed, ok, warning
from backstay.domain.errors import ServerError, UsageError
from backstay.domain.size import format_size
from backstay.server.database import Database, newest_revision
from backstay.server.repositories import PASSPHRASE
from backstay.server.settings import ServerKey, ServerSettings
from backstay.server.tables import JobRow, RepositoryRow
from backstay.storage.registry import open_storage

_LOOPBACK = "127.0.0.1"
_LEAST_ROOM, _SCARCE_ROOM = 1 << 30, 10 << 30
_LEAST_MEMORY = 512 << 20
_LEAST_FILES = 4096
_SLOW = 0.25
_NTP_UNSYNCHRONISED = 0x40


@dataclass
class ServerSubject:
    """The server on this machine, as its settings say; it may be running or not."""

    settings: ServerSettings

    @cached_property
    def database(self) -> Database:
        """Its database, which is there already. Raises UsageError."""
        database = Database(self.settings.database_url)
        path = make_url(database.url).database
        if database.is_sqlite and not Path(path or "").exists():
            raise UsageError(
                f"there is no database {path}",
                hint="start the server once, or name the right --folder or --database",
            )
        return database

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that reads. Raises ServerError, UsageError."""
        try:
            with self.database.read() as db:
                yield db
        except DBAPIError as error:
            raise ServerError(
                f"the database cannot be read: {str(error.orig).splitlines()[0]}",
                hint="if it is damaged, stop the server and put a copy of it back",
            ) from error

    @cached_property
    def repositories(self) -> list[RepositoryRow]:
        """The repositories that it keeps; none where it was never started. Raises ServerError, UsageError."""
        with self.reading() as db:
            if not inspect(db.connection()).has_table(RepositoryRow.__tablename__):
                return []
            return list(db.scalars(select(RepositoryRow)).all())

    @property
    def key(self) -> ServerKey:
        """Its key, which is there already. Raises UsageError, ServerError."""
        path = self.settings.folder / "server.key"
        if not path.exists():
            raise UsageError(
                f"there is no server key {path}",
                hint="put the file back from a copy; a server that was never started makes it",
            )
        return ServerKey.load(self.settings.folder)


def folder(subject: ServerSubject) -> Iterator[Verdict]:
    """The server's folder is the server's alone."""
    place = subject.settings.folder
    found = place.stat()
    if not stat.S_ISDIR(found.st_mode):
        yield failed(f"{place} is no folder", "name the server's folder with --folder")
        return
    yield from _private(place)
    if not os.access(place, os.W_OK | os.X_OK):
        yield failed(f"{place} cannot be written by this user", "run it as the user of the server")
    for name in ("server.key", "tls.key"):
        if (place / name).exists():
            yield from _private(place / name)


def _private(path: Path) -> Iterator[Verdict]:
    forbidden = 0o077
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & forbidden:
        yield failed(
            f"{path} has the mode {mode:04o}: others than its owner may use it",
            f"chmod {mode & ~forbidden:04o} {path}",
        )
    else:
        yield ok(f"{path} has the mode {mode:04o}")


def key(subject: ServerSubject) -> Iterator[Verdict]:
    """The key is there, and is the one that the database was sealed with."""
    server_key = subject.key
    repositories = subject.repositories
    for repository in repositories:
        server_key.open(repository.sealed_passphrase, PASSPHRASE)
    opened = f" and opens what {len(repositories)} repositories need" if repositories else ""
    yield ok(f"{subject.settings.folder / 'server.key'} is there{opened}")


def database(subject: ServerSubject) -> Iterator[Verdict]:
    """The database answers soon, and is of this version."""
    database = subject.database
    began = time.perf_counter()
    with subject.reading() as db:
        product = "SQLite"
        if not database.is_sqlite:
            product = f"PostgreSQL {db.scalar(text('SHOW server_version'))}"
        connected = time.perf_counter()
        db.execute(select(1))
        took = time.perf_counter() - connected
        revision = MigrationContext.configure(db.connection()).get_current_revision()
        broken = db.scalar(text("PRAGMA quick_check(1)")) if _is_small_sqlite(subject) else "ok"
    where = make_url(database.url).render_as_string(hide_password=True)
    yield (
        warning(f"{product} at {where} took {took:.2f} s for an answer", "look at its load, disk and network")
        if took > _SLOW or connected - began > 1
        else ok(f"{product} at {where} answers in {took * 1000:.1f} ms")
    )
    if broken != "ok":
        yield failed(f"the database is damaged: {broken}", "stop the server and put a copy of it back")
    newest = newest_revision()
    if revision == newest:
        yield ok(f"its tables are of version {revision}")
    elif revision is None or revision < newest:
        yield warning(
            f"its tables are of version {revision or 'none'}, this Backstay's of {newest}",
            "nothing is to be done: the server brings them up when it starts; copy the database before",
        )
    else:
        yield failed(
            f"its tables are of version {revision}, which this Backstay ({newest}) does not know",
            "install the newer Backstay again, or restore the database from before the upgrade",
        )


def _is_small_sqlite(subject: ServerSubject) -> bool:
    database = subject.database
    path = Path(make_url(database.url).database or "")
    return database.is_sqlite and path.stat().st_size < 256 << 20


def room(subject: ServerSubject) -> Iterator[Verdict]:
    """There is room where the server keeps its own files."""
    places = {subject.settings.folder}
    if subject.database.is_sqlite:
        places.add(Path(make_url(subject.database.url).database or ".").parent)
    for place in sorted(places):
        free = shutil.disk_usage(place).free
        saw = f"{place} has {format_size(free)} left"
        mend = "make room, or move the folder: see docs/operations.md"
        if free < _LEAST_ROOM:
            yield failed(saw, mend)
        else:
            yield warning(saw, mend) if free < _SCARCE_ROOM else ok(saw)


def storage(subject: ServerSubject) -> Iterator[Verdict]:
    """Each repository's storage can be reached, written, read, and has room."""
    for repository in subject.repositories:
        place = open_storage(repository.location)
        name = f"trial/{secrets.token_hex(16)}"
        began = time.perf_counter()
        has_config = place.exists("config")
        try:
            place.put(name, [b"backstay doctor"])
            place.sync()
            same = place.get(name) == b"backstay doctor"
        finally:
            place.delete(name)
        took = time.perf_counter() - began
        if not has_config:
            yield failed(
                f"there is no repository in {place.location}",
                "see that the right disk is mounted there; never make a new one over it",
            )
        if not same:
            yield failed(
                f"{place.location} gives back other bytes than were stored", "check the disk below it"
            )
        saw = f"{place.location} stored, read and deleted a small object in {took * 1000:.0f} ms"
        yield ok(saw) if took < 5 else warning(saw, "look at its load and at the network")
        free = place.free_bytes()
        if free is None:
            continue
        saw = f"{place.location} has {format_size(free)} left"
        mend = "add room, or shorten the retention and prune"
        yield warning(saw, mend) if free < _SCARCE_ROOM else ok(saw)


def clock(subject: ServerSubject) -> Iterator[Verdict]:
    """The clock is kept right: schedules and retention go by it."""
    unsynchronised = _kernel_says_unsynchronised()
    if unsynchronised:
        yield warning(
            "the kernel says that nothing keeps the clock right", "enable systemd-timesyncd or chrony"
        )
    elif unsynchronised is False:
        yield ok("the clock is kept right")
    if not subject.repositories:
        return
    now = datetime.now(UTC)
    with subject.reading() as db:
        newest = db.scalar(select(func.max(JobRow.created_at)))
        theirs = now if subject.database.is_sqlite else db.scalar(select(func.now()))
    if newest is not None and newest > now + timedelta(minutes=1):
        yield failed(
            f"the newest job was asked for at {newest:%Y-%m-%d %H:%M} UTC, which is still to come",
            "set the clock right: it was set back, or another server's is wrong",
        )
    ahead = abs((now - theirs).total_seconds()) if theirs is not None else 0.0
    if ahead > 5:
        yield warning(
            f"the database's clock differs by {ahead:.0f} s", "let both machines' clocks be kept right"
        )


def _kernel_says_unsynchronised() -> bool | None:
    """By adjtimex(2); None where it cannot be asked."""
    import ctypes

    class Timex(ctypes.Structure):
        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_byte * 256),
        )

    try:
        asked = Timex(modes=0)
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else bool(asked.status & _NTP_UNSYNCHRONISED)


def certificate(subject: ServerSubject) -> Iterator[Verdict]:
    """The certificate is valid, belongs to its key, and bears the server's name."""
    settings = subject.settings
    if settings.tls == "off":
        if settings.host in {_LOOPBACK, "::1", "localhost"}:
            yield ok("no TLS, and only this machine is answered")
        else:
            yield warning(
                f"no TLS at {settings.host}: whoever listens on the network reads all",
                "let it listen at --host 127.0.0.1 behind a proxy with TLS, or switch TLS on",
            )
        return
    own = settings.tls == "self-signed"
    path = settings.folder / "tls.crt" if own else settings.certificate
    key_path = settings.folder / "tls.key" if own else settings.private_key
    if path is None or key_path is None:
        yield failed("there is no certificate", "give --certificate and --private-key")
        return
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        private = load_pem_private_key(key_path.read_bytes(), None)
    except (ValueError, TypeError):
        yield failed(f"{path} or {key_path} is no PEM that can be read", "put the right files there")
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != found.public_key().public_bytes(*form):
        yield failed(f"{key_path} is not the key of {path}", "put the pair there that belongs together")
    now = datetime.now(UTC)
    ends = found.not_valid_after_utc
    left = ends - now
    saw = f"{path} is valid until {ends:%Y-%m-%d}"
    if not found.not_valid_before_utc <= now < ends:
        yield failed(
            f"{path} is valid from {found.not_valid_before_utc:%Y-%m-%d} to {ends:%Y-%m-%d} only",
            "put a valid one there and restart the server",
        )
    elif left < timedelta(days=21):
        yield warning(saw, "put a new one there before, and restart the server")
    else:
        yield ok(saw)


def port(subject: ServerSubject) -> Iterator[Verdict]:
    """The port is free, or this server has it."""
    settings = subject.settings
    with contextlib.closing(
        socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    ) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            taken = error
        else:
            yield ok(f"port {settings.port} is free: the server is not running")
            return
    if _backstay_answers(settings):
        yield ok(f"a Backstay server answers at port {settings.port}")
    else:
        yield failed(
            f"port {settings.port} at {settings.host} cannot be had: {taken.strerror}",
            "stop whoever has it (`ss -ltnp` tells), or choose another with --port",
        )


def _backstay_answers(settings: ServerSettings) -> bool:
    host = _LOOPBACK if settings.host in {"0.0.0.0", ""} else settings.host
    host = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.tls == "off" else "https"
    try:
        answer = httpx.get(f"{scheme}://{host}:{settings.port}/api/v1/openapi.json", verify=False, timeout=5)
        return str(answer.json()["info"]["title"]) == "Backstay"
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def memory(subject: ServerSubject) -> Iterator[Verdict]:
    """There is memory left, by /proc/meminfo (proc(5)) and the control group's limit (cgroups(7))."""
    available = None
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = 1024 * int(next(one for one in lines if one.startswith("MemAvailable:")).split()[1])
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        available = min(available or limit, limit - used)
    if available is None:
        return
    saw = f"{format_size(available)} of memory are available"
    mend = "give the machine more, or move the database to another"
    yield warning(saw, mend) if available < _LEAST_MEMORY else ok(saw)


def files(subject: ServerSubject) -> Iterator[Verdict]:
    """Every agent keeps a connection open: that takes file descriptors."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _LEAST_FILES:
        yield warning(f"at most {hard} files may be open", "set LimitNOFILE=65536 in the server's unit")
    else:
        yield ok(f"{hard if hard != resource.RLIM_INFINITY else 'any number of'} files may be open")


CHECKS: list[Check[ServerSubject]] = [
    Check("folder", folder),
    Check("key", key),
    Check("database", database),
    Check("room", room),
    Check("storage", storage),
    Check("clock", clock),
    Check("certificate", certificate),
    Check("port", port),
    Check("memory", memory),
    Check("open files", files),
]
"""In this order."""


def is_server(settings: ServerSettings) -> bool:
    """Whether a server has been started with these settings on this machine."""
    try:
        return (settings.folder / "server.key").exists()
    except OSError:
        return False
