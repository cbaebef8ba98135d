"""Policies as they apply to a backup set: built-in values, the policy, the file server's, the set's own."""

from backstay.domain.policy import BackupPolicy, PolicyLayer, ResolvedPolicy, resolve
from backstay.protocol.policy_document import PolicyValues
from backstay.server.tables import BackupSetRow


def layers_of(backup_set: BackupSetRow) -> list[PolicyLayer]:
    """The layers of a set's policy, the most general first."""
    layers: list[PolicyLayer] = []
    if backup_set.policy is not None:
        values = PolicyValues.model_validate(backup_set.policy.values)
        layers.append(values.layer(f"policy {backup_set.policy.name}"))
    server = PolicyValues.model_validate(backup_set.file_server.policy_layer or {})
    layers.append(server.layer(f"file server {backup_set.file_server.name}"))
    own = PolicyValues.model_validate(backup_set.policy_layer or {})
    layers.append(own.layer(f"backup set {backup_set.name}"))
    return layers


def policy_with(backup_set: BackupSetRow | None, draft: PolicyValues) -> BackupPolicy:
    """The policy of a set, or the built-in one, with a draft over it. Raises UsageError."""
    layers = layers_of(backup_set) if backup_set is not None else []
    return resolve([*layers, draft.layer("draft")]).policy


def policy_of(backup_set: BackupSetRow) -> ResolvedPolicy:
    """The policy that holds for a set, and where each value comes from."""
    return resolve(layers_of(backup_set))
