"""What a draft of a policy, or of one of its layers, would do to backup sets: shown before it is saved."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from backstay.domain.errors import BackstayError
from backstay.domain.policy import ResolvedPolicy
from backstay.domain.schedule import next_runs
from backstay.server import last_copies
from backstay.server.access import Permission
from backstay.server.last_copies import LastCopies
from backstay.server.policies import Draft, policy_if
from backstay.server.retention import SetPlan, plan_set
from backstay.server.tables import BackupSetRow
from backstay.server.web.policy_words import words_of
from backstay.server.web.visit import Visit

MOST_SETS = 5
_COPIES_NAMED = 20
_COPIES_SECONDS = 0.5


@dataclass(frozen=True)
class Effect:
    """What would hold for a set, which of its restore points would stay and go, and what goes with them."""

    resolved: ResolvedPolicy
    words: dict[str, str]
    next_run: datetime | None
    plan: SetPlan
    stay: int
    go: int
    lost: LastCopies | None


def effects(visit: Visit, db: Session, sets: Sequence[BackupSetRow], draft: Draft) -> Iterator[Effect]:
    """The effect on each of these sets. Raises UsageError."""
    for one in sets:
        resolved = policy_if(one, draft)
        plan = plan_set(db, one, visit.now, policy=resolved.policy.retention)
        counts = Counter(decision.keep for decision in plan.decisions)
        lost = None
        if counts[False] and visit.may(Permission.BROWSE):
            going, staying = last_copies.going_by(plan)
            repository = plan.decisions[0].row.repository_id
            with suppress(BackstayError):  # a warning more; what cannot be read is told where it is looked at
                lost = last_copies.find_last_copies(
                    visit.control, repository, going, staying, limit=_COPIES_NAMED, seconds=_COPIES_SECONDS
                )
        _ = one.file_server.name
        runs = next_runs(resolved.policy.schedules, visit.now, 1)
        yield Effect(
            resolved,
            words_of(resolved.policy),
            runs[0] if runs else None,
            plan,
            counts[True],
            counts[False],
            lost,
        )
