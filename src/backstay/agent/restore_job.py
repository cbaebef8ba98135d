"""Carries out a restore ticket: plan, and, unless it is a dry run, transfer, finish and verify."""

from backstay.agent.access import access_for
from backstay.agent.reporter import Reporter
from backstay.agent.repository import RestoringRepository
from backstay.domain.policy import BackupPolicy
from backstay.protocol.client import AgentClient
from backstay.protocol.report import Outcome, ProblemReport
from backstay.protocol.ticket import RestoreTicket
from backstay.repository.credential import load_credential
from backstay.repository.layout import MANIFESTS, object_name
from backstay.repository.manifest import decode_manifest
from backstay.restore.existing import Existing
from backstay.restore.outcome import RestoreProblem
from backstay.restore.plan import plan_restore
from backstay.restore.workflow import run_restore
from backstay.system.places import cache_root

_PROBLEMS_SENT = 10_000
_WARNED = "warning"


def restore(client: AgentClient, ticket: RestoreTicket, reporter: Reporter) -> Outcome:
    """Restore, and return the outcome. Raises BackstayError: what was restored until then stays."""
    access = access_for(client.channel(ticket.job, ticket.epoch), BackupPolicy(), reporter)
    secrets, _ = load_credential(ticket.repository.credential.encode("ascii"), "the ticket's credential")
    repository = RestoringRepository(access.gateway, access.retrying, secrets, cache=cache_root())
    name = object_name(MANIFESTS, bytes.fromhex(ticket.point))
    point = decode_manifest(ticket.manifest, secrets.catalogue_key, name)
    with plan_restore(
        repository,
        point,
        target=ticket.target,
        paths=ticket.paths,
        existing=Existing(ticket.existing),
        with_permissions=ticket.with_permissions,
        numeric_ids=ticket.numeric_ids,
        strip=ticket.strip,
        progress=reporter,
    ) as plan:
        planned = {f"planned_{name}": value for name, value in vars(plan.figures).items()}
        if ticket.dry_run:
            return _told(ticket, reporter, planned, plan.problems, plan.warnings)
        warnings = plan.warnings
        outcome = run_restore(plan, reporter, verified=ticket.verified)
    figures = planned | {
        "files": outcome.files,
        "folders": outcome.folders,
        "links": outcome.links,
        "others": outcome.others,
        "bytes": outcome.bytes,
        "verified": -1 if outcome.verified is None else outcome.verified,
    }
    return _told(ticket, reporter, figures, outcome.problems, warnings)


def _told(
    ticket: RestoreTicket,
    reporter: Reporter,
    figures: dict[str, int],
    problems: list[RestoreProblem],
    warnings: list[RestoreProblem],
) -> Outcome:
    rows = [ProblemReport(path=one.path, reason=one.reason[:4000]) for one in problems]
    rows += [ProblemReport(path=one.path, reason=one.reason[:4000], grade=_WARNED) for one in warnings]
    return Outcome(
        epoch=ticket.epoch,
        state="succeeded",
        steps=reporter.steps(),
        messages=reporter.take_messages(),
        figures={"dry_run": ticket.dry_run, **figures},
        problems=rows[:_PROBLEMS_SENT],
        problem_count=len(rows),
    )
