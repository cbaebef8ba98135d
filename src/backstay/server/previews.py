"""What a draft would do before it is kept: a policy's times, a rule's verdicts; retention.py has its own."""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from backstay.domain import due
from backstay.domain.content_rule import ContentRule, Verdict
from backstay.domain.default_rules import linux_rules, windows_rules
from backstay.domain.due import Due
from backstay.domain.entry import FileStat
from backstay.domain.policy import BackupPolicy
from backstay.server import content_rules


def next_backups(policy: BackupPolicy, now: datetime, count: int) -> list[Due]:
    """The next scheduled times that ask for a backup, and when each may begin."""
    return list(islice(due.upcoming(policy.schedules, policy.window, now), count))


def explain(
    text: str,
    path: bytes,
    *,
    windows: bool,
    with_default_rules: bool,
    is_folder: bool,
    stat: FileStat | None,
    now: datetime,
) -> Sequence[tuple[bytes, Verdict]]:
    """What a rule says of a path and of each folder above it, from the top to the first that is left out.

    Raises:
        UsageError: a line of the rule cannot be understood.
    """
    rule = whole_rule(text, default_rules=with_default_rules, windows=windows)
    relative = path.replace(b"\\", b"/") if windows else path
    return rule.explain(relative.strip(b"/"), is_folder, stat, int(now.timestamp() * 1e9))


def whole_rule(text: str, *, default_rules: bool, windows: bool) -> ContentRule:
    """The rule as an agent applies it: the default rules first, where they hold. Raises UsageError."""
    own = content_rules.parsed(text)
    if not default_rules:
        return own
    return (windows_rules() if windows else linux_rules()) + own
