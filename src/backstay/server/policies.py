"""Policies as they apply to a backup set: built-in values, the policy, the file server's, the set's own."""

from collections.abc import Mapping
from typing import Literal

from backstay.domain.policy import BackupPolicy, PolicyLayer, ResolvedPolicy, resolve
from backstay.protocol.policy_document import PolicyValues
from backstay.server.tables import BackupSetRow

Draft = Mapping[Literal["policy", "file_server", "backup_set"], PolicyValues]
"""Values that one layer would have, by which it is."""


def layers_of(backup_set: BackupSetRow, draft: Draft | None = None) -> list[PolicyLayer]:
    """The layers of a set's policy, the most general first; those in `draft` as they would be."""
    drafted = draft or {}
    layers: list[PolicyLayer] = []
    if backup_set.policy is not None or "policy" in drafted:
        kept = PolicyValues.model_validate(backup_set.policy.values if backup_set.policy else {})
        name = backup_set.policy.name if backup_set.policy else "draft"
        layers.append(drafted.get("policy", kept).layer(f"policy {name}"))
    server = PolicyValues.model_validate(backup_set.file_server.policy_layer or {})
    layers.append(drafted.get("file_server", server).layer(f"file server {backup_set.file_server.name}"))
    own = PolicyValues.model_validate(backup_set.policy_layer or {})
    layers.append(drafted.get("backup_set", own).layer(f"backup set {backup_set.name}"))
    return layers


def policy_if(backup_set: BackupSetRow, draft: Draft) -> ResolvedPolicy:
    """The policy that would hold for a set if one of its layers were another. Raises UsageError."""
    return resolve(layers_of(backup_set, draft))


def policy_with(backup_set: BackupSetRow | None, draft: PolicyValues) -> BackupPolicy:
    """The policy of a set, or the built-in one, with a draft over it. Raises UsageError."""
    layers = layers_of(backup_set) if backup_set is not None else []
    return resolve([*layers, draft.layer("draft")]).policy


def policy_of(backup_set: BackupSetRow) -> ResolvedPolicy:
    """The policy that holds for a set, and where each value comes from."""
    return resolve(layers_of(backup_set))
