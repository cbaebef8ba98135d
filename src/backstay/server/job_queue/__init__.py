"""The job queue: the only place that changes a job's state.

A job is leased to one agent process, or to one server process, under an epoch that rises with every lease:
who reports with an older epoch, or from another process, is told that the job is lost to it. What decides
about a job is in the database alone, so that any server process may answer, and one that dies loses nothing.

Whoever locks several rows locks a file server before its backup sets, and those before their jobs: two that
locked them in different orders would wait for each other.
"""

from backstay.server.job_queue.attempts import will_be_retried
from backstay.server.job_queue.giving_up import abort_lost, cancel, reap
from backstay.server.job_queue.leases import (
    LEAST_AGENT_LEASE,
    SERVER_LEASE,
    agent_lease,
    cancelled_by,
    file_servers_with_work,
    has_work,
    held_job,
    lease_for_agent,
    lease_for_server,
    lease_of,
    policy_for,
    runs_for,
)
from backstay.server.job_queue.reports import add_problems, finish, reply_to, report
from backstay.server.job_queue.requests import (
    REQUEST_STEP,
    request_backup,
    request_restore,
    request_server_job,
)
from backstay.server.job_queue.states import get_job, log, log_once, set_state

__all__ = [
    "LEAST_AGENT_LEASE",
    "REQUEST_STEP",
    "SERVER_LEASE",
    "abort_lost",
    "add_problems",
    "agent_lease",
    "cancel",
    "cancelled_by",
    "file_servers_with_work",
    "finish",
    "get_job",
    "has_work",
    "held_job",
    "lease_for_agent",
    "lease_for_server",
    "lease_of",
    "log",
    "log_once",
    "policy_for",
    "reap",
    "reply_to",
    "report",
    "request_backup",
    "request_restore",
    "request_server_job",
    "runs_for",
    "set_state",
    "will_be_retried",
]
