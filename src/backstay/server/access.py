"""Who may do what: roles, what each permits, and the actor behind a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backstay.domain.errors import Forbidden


class Role(StrEnum):
    """What an administrator is, from the most powerful down."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    RESTORE_ONLY = "restore_only"
    AUDITOR = "auditor"


class Permission(StrEnum):
    """One kind of doing; API tokens are limited to some of them (their scopes)."""

    VIEW = "view"
    """See file servers, sets, policies, jobs, restore points (not what is in them), storage, alerts."""
    RUN = "run"
    """Back up now, cancel, run again, verify; acknowledge alerts."""
    EDIT = "edit"
    """File servers, sets, policies, rules: make, change, remove."""
    BROWSE = "browse"
    """See names in restore points."""
    RESTORE = "restore"
    """Restore, download, preview."""
    RETAIN = "retain"
    """Legal hold, prune."""
    AUDIT = "audit"
    """Read the audit log."""
    MANAGE = "manage"
    """Administrators, tokens of others, enrolment, storage, notifications, settings."""


PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.ADMINISTRATOR: frozenset(Permission),
    Role.OPERATOR: frozenset(
        {Permission.VIEW, Permission.RUN, Permission.EDIT, Permission.BROWSE, Permission.RESTORE}
    ),
    Role.RESTORE_ONLY: frozenset({Permission.VIEW, Permission.BROWSE, Permission.RESTORE}),
    Role.AUDITOR: frozenset({Permission.VIEW, Permission.AUDIT}),
}


@dataclass(frozen=True)
class Actor:
    """Whoever is behind a request, or the server itself.

    Attributes:
        name: as the audit log shows it.
        permissions: what the role permits, and the token's scopes leave of it.
        address: where the request came from.
        administrator_id: None for the server itself.
        token_id: of the API token, if it is one that asks.
        session_hash: of the browser session's secret, if it is one that asks.
        limited_because: why they may do less than their role, and what to do about it.
    """

    name: str
    permissions: frozenset[Permission]
    address: str = ""
    administrator_id: int | None = None
    token_id: int | None = None
    session_hash: str = ""
    limited_because: str = ""

    def require(self, permission: Permission) -> None:
        """Raises Forbidden where the actor may not do this."""
        if permission not in self.permissions:
            raise Forbidden(
                f"{self.name} may not do this: it takes the permission {permission.value!r}",
                hint=self.limited_because
                or "ask an administrator for a role, or an API token with a scope, that has it",
            )


SYSTEM: Final = Actor("the server", frozenset(Permission))
"""What the server does by itself."""
