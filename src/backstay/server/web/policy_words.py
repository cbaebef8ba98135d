"""A policy in a few words."""

from backstay.domain.policy import BackupPolicy
from backstay.server.web import policy_form


def words_of(policy: BackupPolicy) -> dict[str, str]:
    """A policy in a few words: when, and for how long."""
    spoken = []
    for one in policy.schedules[:3]:
        fields = policy_form.fields_of(one.rule)
        label = dict(policy_form.KINDS)[fields.kind].lower()
        detail = {
            "daily": fields.time,
            "weekdays": fields.time,
            "weekly": f"{fields.weekday.capitalize()} at {fields.time}",
            "monthly": f"{fields.day} at {fields.time}",
            "hourly": fields.minute,
            "custom": one.rule,
        }[fields.kind]
        spoken.append(f"{label} {detail}")
    kept = policy.retention
    lasting = [f"{kept.keep_days} days of every copy"] if kept.keep_days else []
    lasting += [
        f"{count} {unit}"
        for count, unit in (
            (kept.daily, "daily"),
            (kept.weekly, "weekly"),
            (kept.monthly, "monthly"),
            (kept.yearly, "yearly"),
        )
        if count
    ]
    when = "; ".join(spoken) or "by hand only"
    return {"when": f"{when[:1].upper()}{when[1:]}", "keep": ", ".join(lasting)}
