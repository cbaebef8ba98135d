"""How often somebody may try to sign in: counted in the database, so that all servers count together.

An attempt is counted before its password is looked at, so that many at once gain nothing. A name is locked
after five failures, for half a minute at first and twice as long after each further one, an hour at most;
an address, after thirty. Names are counted whether they exist or not: a lock does not tell. Who knows a
name can keep it locked; sessions and API tokens that are there already go on, and an administrator can
unlock it.
"""

import hashlib
import ipaddress
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backstay.domain.errors import TooManyRequests
from backstay.server.tables import SignInFailures

FREE_TRIES = 5
FREE_TRIES_OF_ADDRESS = 30
FIRST_LOCK = timedelta(seconds=30)
LONGEST_LOCK = timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(days=1)


def count_attempt(db: Session, name: str, address: str, now: datetime) -> None:
    """Count an attempt to sign in as if it had failed already; commit it, whatever comes of it.

    Raises:
        TooManyRequests: name or address is locked; then nothing is counted.
    """
    rows = [_row(db, key, now) for key in sorted((_of_name(name), _of_address(address)))]
    for row in rows:
        if row.locked_until is not None and row.locked_until > now:
            wait = int((row.locked_until - now).total_seconds()) + 1
            raise TooManyRequests(
                "there were too many attempts to sign in",
                hint=f"wait {_in_words(wait)}, or ask an administrator to unlock the name",
                retry_after=wait,
            )
    for row in rows:
        row.count += 1
        row.last_at = now
        free = FREE_TRIES if row.key.startswith("name:") else FREE_TRIES_OF_ADDRESS
        if row.count >= free:
            row.locked_until = now + min(FIRST_LOCK * 2 ** min(row.count - free, 20), LONGEST_LOCK)


def forgive(db: Session, name: str, address: str) -> None:
    """The attempt that was counted was none: the name begins anew, and the address has one less."""
    unlock(db, name)
    row = db.get(SignInFailures, _of_address(address), with_for_update=True)
    if row is not None:
        row.count = max(row.count - 1, 0)
        if row.count < FREE_TRIES_OF_ADDRESS:
            row.locked_until = None


def unlock(db: Session, name: str) -> None:
    """Forget all failures of this name."""
    db.execute(delete(SignInFailures).where(SignInFailures.key == _of_name(name)))


def locked_until(db: Session, names: list[str], now: datetime) -> dict[str, datetime]:
    """Which of these names are locked, and until when."""
    keys = {_of_name(name): name for name in names}
    rows = db.scalars(
        select(SignInFailures).where(SignInFailures.key.in_(list(keys)), SignInFailures.locked_until > now)
    )
    return {keys[row.key]: row.locked_until for row in rows if row.locked_until is not None}


def forget_old(db: Session, now: datetime) -> None:
    """Delete what does not count any more."""
    db.execute(delete(SignInFailures).where(SignInFailures.last_at < now - FORGOTTEN_AFTER))


def _row(db: Session, key: str, now: datetime) -> SignInFailures:
    """The row of this key, made where it is missing, and held until the transaction ends."""
    values = {"key": key, "count": 0, "last_at": now}
    if db.get_bind().dialect.name == "sqlite":
        db.execute(sqlite.insert(SignInFailures).values(values).on_conflict_do_nothing())
    else:
        db.execute(postgresql.insert(SignInFailures).values(values).on_conflict_do_nothing())
    row = db.get_one(SignInFailures, key, with_for_update=True, populate_existing=True)
    if row.last_at < now - FORGOTTEN_AFTER:
        row.count, row.locked_until = 0, None
    return row


def _of_name(name: str) -> str:
    return "name:" + hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _of_address(address: str) -> str:
    """One network of IPv6 belongs to one host, with 2^64 addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"address:{address[:64]}"
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return f"address:{ipaddress.ip_network((parsed, 64), strict=False)}"
    return f"address:{getattr(parsed, 'ipv4_mapped', None) or parsed}"


def _in_words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60 + 1} minutes"
