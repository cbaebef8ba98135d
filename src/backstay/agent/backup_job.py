"""Carries out a backup ticket: scripts, the six steps, and what is told at the end."""

import os
from collections.abc import Sequence
from pathlib import Path

from backstay.agent.access import access_for
from backstay.agent.reporter import Reporter
from backstay.agent.repository import WriteOnlyRepository
from backstay.agent.scripts import run_scripts
from backstay.backup.own_places import own_places, rule_text
from backstay.backup.workflow import BackupOutcome, BackupRequest, run_backup
from backstay.domain.content_rule import ContentRule
from backstay.domain.default_rules import rules_of_this_system
from backstay.domain.entry import Grade
from backstay.domain.errors import StorageUnavailable
from backstay.protocol.client import AgentClient
from backstay.protocol.report import Outcome, ProblemReport
from backstay.protocol.ticket import BackupTicket
from backstay.repository.credential import load_credential
from backstay.system.host import chosen_path
from backstay.system.places import cache_root

_PROBLEMS_SENT = 10_000


def back_up(
    client: AgentClient, ticket: BackupTicket, reporter: Reporter, own_folders: Sequence[Path]
) -> Outcome:
    """Back up, and return the outcome. Raises BackstayError: nothing was committed."""
    policy = ticket.policy.policy()
    direct = ticket.repository.data_path == "direct"
    patience = policy.retries.network_patience
    channel = client.channel(ticket.job, ticket.epoch, patience.total_seconds())
    access = access_for(channel, policy, reporter, direct=direct)
    secrets, _ = load_credential(ticket.repository.credential.encode("ascii"), "the ticket's credential")
    repository = WriteOnlyRepository(
        access.gateway, access.storage, access.retrying, secrets, cache=cache_root()
    )
    rule = rules_of_this_system() if ticket.default_rules else ContentRule()
    rule += ContentRule.parse(ticket.rule.encode("utf-8", "surrogateescape"), "the set's content rule")
    request = BackupRequest(
        [chosen_path(os.fsdecode(path)) for path in ticket.paths],
        ticket.backup_set,
        rule + own_places(repository.storage.location, own_folders),
        rule_text(rule),
        cross_mounts=ticket.cross_mounts,
        allow_live=policy.allow_live_scan,
        file_server=ticket.file_server,
        clock=reporter.server_time_ns,
    )
    environment = {
        "BACKSTAY_JOB": str(ticket.job),
        "BACKSTAY_SET": ticket.backup_set,
        "BACKSTAY_PATHS": os.pathsep.join(os.fsdecode(path) for path in ticket.paths),
    }
    result = "failed"
    try:
        run_scripts(policy.scripts_before, environment, reporter.message, "before")
        outcome = run_backup(repository, request, reporter)
        result = "succeeded" if outcome.complete else "succeeded_with_warnings"
    except StorageUnavailable as error:
        raise StorageUnavailable(
            f"{error.what}; the policy's patience of {patience} is over",
            hint="look at the network and the server; the next backup does not send again what was stored",
        ) from error
    finally:
        run_scripts(
            policy.scripts_after, {**environment, "BACKSTAY_RESULT": result}, reporter.message, "after"
        )
    return _told(ticket, outcome, reporter)


def _told(ticket: BackupTicket, outcome: BackupOutcome, reporter: Reporter) -> Outcome:
    manifest = outcome.point.manifest
    return Outcome(
        epoch=ticket.epoch,
        state="succeeded",
        restore_point=outcome.point.id.hex(),
        steps=reporter.steps(),
        messages=reporter.take_messages(),
        figures={
            "type": manifest.type,
            "files": manifest.totals.files,
            "folders": manifest.totals.directories,
            "bytes": manifest.totals.bytes,
            "read_bytes": manifest.read_bytes,
            "new_bytes": manifest.new_bytes,
            "stored_bytes": manifest.stored_bytes,
        },
        problems=[
            ProblemReport(
                path=problem.path, reason=problem.reason[:4000], grade=Grade(problem.grade).name.lower()
            )
            for problem in outcome.problems[:_PROBLEMS_SENT]
        ],
        problem_count=len(outcome.problems),
    )
