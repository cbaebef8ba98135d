"""What is wrong with the machine that a server process runs on: each looks at its own."""

import datetime
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from sqlalchemy.engine import make_url

from backstay.domain.errors import BackstayError
from backstay.domain.size import format_size
from backstay.server.alert_checks.finding import AlertKind, Facts, Finding, Severity, moment, span
from backstay.server.control import Control
from backstay.server.tls import certificate_files

_LEAST_FREE = 1 << 30


def host_name() -> str:
    """As alerts about this machine name it."""
    return socket.gethostname()[:100]


def host_subject(what: str) -> str:
    """The subject of an alert that only this machine can find, and find gone."""
    return f"host:{host_name()}:{what}"[:255]


def certificate_expiring(facts: Facts) -> Iterator[Finding]:
    """The certificate that this server shows expires soon, or has."""
    ends = certificate_ends(facts.control)
    if ends is None or ends - facts.now > datetime.timedelta(days=facts.limits.certificate_days):
        return
    gone = ends <= facts.now
    yield Finding(
        AlertKind.CERTIFICATE_EXPIRING,
        Severity.CRITICAL if gone or ends - facts.now < datetime.timedelta(days=7) else Severity.WARNING,
        host_subject("certificate"),
        f"the certificate of the server {host_name()} "
        + (
            f"expired at {moment(ends)}"
            if gone
            else f"expires in {span(ends - facts.now)}, at {moment(ends)}"
        ),
        "put a new one in its place and restart the server; agents that insist upon the fingerprint of a "
        "self-signed one must be told the new one",
    )


def certificate_ends(control: Control) -> datetime.datetime | None:
    """When the server's certificate expires; None without TLS, or where it cannot be read."""
    try:
        files = certificate_files(control.settings)
        if files is None:
            return None
        return x509.load_pem_x509_certificate(files[0].read_bytes()).not_valid_after_utc
    except (BackstayError, OSError, ValueError):
        return None


def disk_filling(facts: Facts) -> Iterator[Finding]:
    """Little room is left where this server keeps its database and its own files."""
    seen: set[int] = set()
    for folder in server_folders(facts.control):
        try:
            device, usage = folder.stat().st_dev, shutil.disk_usage(folder)
        except OSError:
            continue
        if device in seen:
            continue
        seen.add(device)
        part = 100 * usage.free / max(1, usage.total)
        if part >= facts.limits.least_free_percent or usage.free >= 20 * _LEAST_FREE:
            continue
        left = f"{format_size(usage.free)} left ({part:.0f} %)"
        yield Finding(
            AlertKind.DISK_FILLING,
            Severity.CRITICAL if usage.free < _LEAST_FREE else Severity.WARNING,
            host_subject(f"disk:{folder}"),
            f"the disk of {folder} on the server {host_name()} has {left}",
            "make room: without it the server can note nothing, and every backup stops",
        )


def server_folders(control: Control) -> list[Path]:
    """Where this server process keeps what it cannot do without."""
    folders = [control.settings.folder]
    if control.database.is_sqlite:
        folders.append(Path(make_url(control.database.url).database or ".").parent)
    return folders
