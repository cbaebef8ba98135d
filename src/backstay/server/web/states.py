"""How states look: words, a tone and an icon, so that colour is never the only sign."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How one state is shown.

    Attributes:
        label: its words.
        tone: good, warn, bad, info or calm; the style sheet knows their colours.
        icon: its name in the icon sheet.
    """

    label: str
    tone: str
    icon: str


JOB_STATES = {
    "queued": Look("Queued", "calm", "clock"),
    "waiting_for_agent": Look("Waiting for agent", "calm", "hourglass"),
    "running": Look("Running", "info", "loader-2"),
    "succeeded": Look("Succeeded", "good", "circle-check-filled"),
    "succeeded_with_warnings": Look("With warnings", "warn", "alert-triangle-filled"),
    "failed": Look("Failed", "bad", "circle-x-filled"),
    "aborted": Look("Aborted", "bad", "ban"),
    "cancelled": Look("Cancelled", "calm", "circle-minus"),
    "skipped": Look("Skipped", "calm", "player-skip-forward"),
}
STEP_STATES = {
    "pending": Look("To come", "calm", "circle-dotted"),
    "waiting": Look("To come", "calm", "circle-dotted"),
    "running": Look("Running", "info", "loader-2"),
    "succeeded": Look("Done", "good", "circle-check-filled"),
    "done": Look("Done", "good", "circle-check-filled"),
    "warning": Look("Done with warnings", "warn", "alert-triangle-filled"),
    "succeeded_with_warnings": Look("Done with warnings", "warn", "alert-triangle-filled"),
    "failed": Look("Failed", "bad", "circle-x-filled"),
    "aborted": Look("Aborted", "bad", "ban"),
    "cancelled": Look("Cancelled", "calm", "circle-minus"),
    "skipped": Look("Not needed", "calm", "circle-minus"),
}
GRADES = {
    "snapshot": Look("Snapshot", "good", "snowflake"),
    "stable": Look("Stable", "good", "circle-check-filled"),
    "changed": Look("Changed while read", "warn", "alert-triangle-filled"),
    "unreadable": Look("Unreadable", "bad", "circle-x-filled"),
}
OTHERS = {
    "connected": Look("Connected", "good", "plug-connected"),
    "silent": Look("Silent", "bad", "plug-connected-x"),
    "never": Look("Never seen", "calm", "circle-dashed"),
    "revoked": Look("Revoked", "calm", "ban"),
    "protected": Look("Protected", "good", "shield-check-filled"),
    "failing": Look("Last backup failed", "bad", "shield-x"),
    "incomplete": Look("Incomplete", "warn", "alert-triangle-filled"),
    "overdue": Look("Overdue", "bad", "shield-x"),
    "unprotected": Look("No backup yet", "bad", "shield-off"),
    "active": Look("Active", "bad", "alert-circle-filled"),
    "acknowledged": Look("Acknowledged", "warn", "eye"),
    "resolved": Look("Resolved", "good", "circle-check-filled"),
    "held": Look("On legal hold", "info", "scale"),
    "damaged": Look("Damaged", "bad", "alert-circle-filled"),
    "ok": Look("In order", "good", "circle-check-filled"),
    "enabled": Look("Enabled", "good", "circle-check-filled"),
    "disabled": Look("Disabled", "calm", "circle-minus"),
    "expired": Look("Expired", "calm", "clock"),
    "locked": Look("Locked", "bad", "lock"),
    "kept": Look("Stays", "good", "shield-check"),
    "going": Look("Goes", "calm", "trash"),
    "included": Look("Included", "good", "circle-check-filled"),
    "excluded": Look("Excluded", "calm", "circle-minus"),
}


def look_of(state: object, kind: str = "") -> Look:
    """How to show `state`; one that is not known here is shown by its own words."""
    name = str(getattr(state, "value", state))
    table = {"job": JOB_STATES, "step": STEP_STATES, "grade": GRADES}.get(kind)
    tables = [table] if table is not None else [OTHERS, JOB_STATES, GRADES]
    for known in tables:
        if name in known:
            return known[name]
    return Look(name.replace("_", " ").capitalize(), "calm", "circle-dotted")
