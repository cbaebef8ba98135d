"""The tables of the control plane, the same on SQLite and PostgreSQL.

Times are aware datetimes in UTC. What is read as a whole and never searched (a policy's values, a job's
steps) is JSON; everything that is searched or joined is a column. Paths are bytes.
"""

from backstay.server.tables.alerts import AlertRow, Delivery, NotificationChannel
from backstay.server.tables.backup_sets import BackupSetRow, ContentRuleRow, PolicyRow
from backstay.server.tables.base import LONG_AGO, Base, UtcDateTime
from backstay.server.tables.file_servers import AgentLogLine, EnrolmentToken, FileServer, LookRow
from backstay.server.tables.jobs import JobMessage, JobProblem, JobRow
from backstay.server.tables.people import Administrator, ApiToken, AuditEntry, SignInFailures, SignInSession
from backstay.server.tables.repositories import RepositoryFigures, RepositoryRow, UpkeepTask
from backstay.server.tables.stored import PackRow, RestorePointRow, WriterSession
from backstay.server.tables.whole_server import Setting, Turn

__all__ = [
    "LONG_AGO",
    "Administrator",
    "AgentLogLine",
    "AlertRow",
    "ApiToken",
    "AuditEntry",
    "BackupSetRow",
    "Base",
    "ContentRuleRow",
    "Delivery",
    "EnrolmentToken",
    "FileServer",
    "JobMessage",
    "JobProblem",
    "JobRow",
    "LookRow",
    "NotificationChannel",
    "PackRow",
    "PolicyRow",
    "RepositoryFigures",
    "RepositoryRow",
    "RestorePointRow",
    "Setting",
    "SignInFailures",
    "SignInSession",
    "Turn",
    "UpkeepTask",
    "UtcDateTime",
    "WriterSession",
]
