"""A job's way to the repository: tried again as long as the policy has patience, within its bandwidth."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from backstay.agent.reporter import Reporter
from backstay.domain.policy import BackupPolicy
from backstay.storage.gateway import Channel, GatewayStorage
from backstay.storage.in_flight import InFlightStorage
from backstay.storage.interface import Storage
from backstay.storage.retrying import Retry, RetryingStorage
from backstay.storage.throttled import Throttle, ThrottledStorage

LONGEST_DELAY = 15.0
"""Seconds between two attempts to reach the repository, at most."""
_NO_LIMIT = 1 << 60
_PACKS_AT_ONCE = 1
"""While it is on its way the next is put together; a second one cost more processor time than it won."""


class Access(NamedTuple):
    """The storage as the engine uses it, and its layers."""

    storage: Storage
    retrying: RetryingStorage
    gateway: GatewayStorage


def access_for(channel: Channel, policy: BackupPolicy, reporter: Reporter, *, direct: bool = False) -> Access:
    """The storage of one job. Waiting ends at once when the job is to stop."""
    gateway = GatewayStorage(channel, direct=direct)
    told = _Told(reporter)
    retrying = RetryingStorage(
        gateway,
        _NO_LIMIT,
        longest_delay=LONGEST_DELAY,
        sleep=reporter.sleep,
        on_retry=told,
        patience=policy.retries.network_patience.total_seconds(),
    )
    if not policy.bandwidth:
        return Access(InFlightStorage(retrying, _PACKS_AT_ONCE), retrying, gateway)

    def now() -> datetime:
        return datetime.fromtimestamp(reporter.server_time_ns() / 1e9, UTC)

    throttle = Throttle(limit_of(policy, now), sleep=reporter.sleep)
    throttled = ThrottledStorage(retrying, throttle)
    return Access(InFlightStorage(throttled, _PACKS_AT_ONCE), retrying, gateway)


def limit_of(policy: BackupPolicy, now: Callable[[], datetime]) -> Callable[[], float | None]:
    """Bytes per second that the policy allows at each moment."""
    return lambda: policy.bandwidth_at(now())


class _Told:
    """Says once that the server is away, and not at every attempt."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._said = ""

    def __call__(self, retry: Retry) -> None:
        if retry.error.what != self._said:
            self._said = retry.error.what
            self._reporter.message(f"trying again: {retry.error.what}")
