"""Agents that are silent, whose clock is wrong, or that are two."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select

from backstay.server import fleet
from backstay.server.alert_checks.finding import AlertKind, Facts, Finding, Severity, ago, moment, span
from backstay.server.tables import FileServer

_RIVAL_REMEMBERED = timedelta(hours=1)


def silent(facts: Facts) -> Iterator[Finding]:
    """An enrolled agent has not been heard of for too long.

    While no server was there to be heard by, nobody was silent; what was an alert before stays one.
    """
    limit = timedelta(seconds=facts.limits.silent_after_seconds)
    long_ago = facts.now - limit
    rows = facts.db.scalars(
        select(FileServer).where(FileServer.removed_at.is_(None), FileServer.agent_key_hash.is_not(None))
    ).all()
    for server in rows:
        heard = server.last_seen_at or server.enrolled_at or server.created_at
        subject = f"file_server:{server.id}"
        standing = facts.standing_for(AlertKind.AGENT_SILENT, subject)
        if heard > long_ago or (standing is None and facts.watching_since > long_ago):
            continue
        since = (
            f"since {moment(server.last_seen_at)}"
            if server.last_seen_at
            else f"since it was enrolled at {moment(heard)}"
        )
        yield Finding(
            AlertKind.AGENT_SILENT,
            Severity.CRITICAL,
            subject,
            f"the agent of {server.name} has not been heard of {since}",
            "see that the machine is up, that `systemctl status backstay-agent` says running, "
            "and run `backstay doctor` there",
            file_server_id=server.id,
        )


def clock_wrong(facts: Facts) -> Iterator[Finding]:
    """The clock of a connected file server is not the server's."""
    limit = facts.limits.clock_seconds
    rows = facts.db.scalars(
        select(FileServer).where(
            FileServer.removed_at.is_(None),
            (FileServer.clock_offset > limit) | (FileServer.clock_offset < -limit),
        )
    ).all()
    for server in rows:
        if not fleet.is_connected(server, facts.now):
            continue
        way = "ahead of" if server.clock_offset > 0 else "behind"
        wrong = span(timedelta(seconds=abs(server.clock_offset)))
        yield Finding(
            AlertKind.CLOCK_WRONG,
            Severity.WARNING,
            f"file_server:{server.id}",
            f"the clock of {server.name} is {wrong} {way} the server's",
            "set it, and let it be kept right (systemd-timesyncd or chrony); "
            "restore points bear the server's time meanwhile",
            file_server_id=server.id,
        )


def two_agents(facts: Facts) -> Iterator[Finding]:
    """Two machines speak with one identity."""
    rows = facts.db.scalars(
        select(FileServer).where(
            FileServer.removed_at.is_(None), FileServer.rival_seen_at > facts.now - _RIVAL_REMEMBERED
        )
    ).all()
    for server in rows:
        assert server.rival_seen_at is not None
        here, there = server.address or "unknown", server.rival_address or "unknown"
        yield Finding(
            AlertKind.TWO_AGENTS,
            Severity.CRITICAL,
            f"file_server:{server.id}",
            f"two machines speak as {server.name}: one at the address {here}, another {there} was last heard "
            f"{ago(facts.now, server.rival_seen_at)}",
            "if one was copied from the other, stop its agent, delete its state, and enrol it under its own "
            "name; if nobody copied it, revoke the credential, for it was stolen",
            file_server_id=server.id,
        )
