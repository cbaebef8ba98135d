"""A policy as a form, and back."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData

from backstay.domain.errors import UsageError
from backstay.protocol.policy_document import PolicyValues
from backstay.server.web.visit import text_of

_MIB = 1 << 20
_DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAYS = tuple(enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")))
KINDS = (
    ("daily", "Every day at"),
    ("weekdays", "Monday to Friday at"),
    ("weekly", "Once a week on"),
    ("monthly", "Once a month on day"),
    ("hourly", "Every hour at minute"),
    ("custom", "By a cron rule"),
)
DAY_GROUPS = (("all", "every day"), ("weekdays", "Monday to Friday"), ("weekend", "Saturday and Sunday"))
_GROUPED = {"all": [0, 1, 2, 3, 4, 5, 6], "weekdays": [0, 1, 2, 3, 4], "weekend": [5, 6]}


@dataclass(frozen=True)
class ScheduleFields:
    """One schedule as a person would say it; `rule` is what it says in cron's words."""

    kind: str = "daily"
    time: str = "22:00"
    weekday: str = "sun"
    day: str = "1"
    minute: str = "0"
    rule: str = "0 22 * * *"
    zone: str = ""


def schedule_fields(values: PolicyValues, usual: str) -> list[ScheduleFields]:
    """The schedules of a policy; a zone stands only where it is not the `usual` one."""
    return [
        replace(fields_of(one.rule), zone="" if one.time_zone == usual else one.time_zone)
        for one in values.schedules or ()
    ]


def fields_of(rule: str) -> ScheduleFields:
    """The fields that say a cron rule, or the rule itself where none would; without its zone."""
    parts = rule.split()
    if len(parts) == 5 and parts[0].isdecimal() and parts[3] == "*":
        minute, hour, day, _, weekday = parts
        if hour == "*" and day == "*" and weekday == "*":
            return ScheduleFields("hourly", minute=minute, rule=rule)
        if hour.isdecimal():
            time = f"{int(hour):02}:{int(minute):02}"
            if day == "*" and weekday == "*":
                return ScheduleFields("daily", time, rule=rule)
            if day == "*" and weekday.lower() in {"mon-fri", "1-5"}:
                return ScheduleFields("weekdays", time, rule=rule)
            if day == "*" and weekday.lower() in _DAY_NAMES:
                return ScheduleFields("weekly", time, weekday=weekday.lower(), rule=rule)
            if day.isdecimal() and weekday == "*":
                return ScheduleFields("monthly", time, day=day, rule=rule)
    return ScheduleFields("custom", rule=rule)


def _rule_of(fields: ScheduleFields) -> str:
    if fields.kind == "custom":
        return fields.rule
    if fields.kind == "hourly":
        return f"{_number(fields.minute, 'minute')} * * * *"
    hour, _, minute = fields.time.partition(":")
    if not (hour.isdecimal() and minute.isdecimal()):
        raise UsageError("a schedule lacks its time", hint="give hour and minute, for example 22:30")
    at = f"{int(minute)} {int(hour)}"
    return {
        "daily": f"{at} * * *",
        "weekdays": f"{at} * * mon-fri",
        "weekly": f"{at} * * {fields.weekday}",
        "monthly": f"{at} {_number(fields.day, 'day of the month')} * *",
    }.get(fields.kind, fields.rule)


def zone_of(values: PolicyValues) -> str:
    """The time zone that a policy is edited in: of all of it but the schedules that have their own."""
    zones = [one.time_zone for one in (values.retention, values.window) if one is not None]
    zones += [one.time_zone for one in values.schedules or ()]
    return zones[0] if zones else ""


def has_several_zones(values: PolicyValues) -> bool:
    """Whether the form, which has one time zone beside those of the schedules, would change the others."""
    zones = {zone_of(values), *(one.time_zone for one in values.bandwidth or ())}
    if values.window is not None and values.window.seconds:
        zones.add(values.window.time_zone)
    return len(zones) > 1


def group_of(weekdays: Sequence[int]) -> str:
    """The name of a group of days; days that are none of them count as all."""
    return next((name for name, days in _GROUPED.items() if sorted(weekdays) == days), "all")


def values_of(form: FormData) -> PolicyValues:
    """The policy that the form says. Raises UsageError."""
    zone = text_of(form, "time_zone") or "UTC"
    document: dict[str, Any] = {
        "schedules": [{"rule": _rule_of(one), "time_zone": one.zone or zone} for one in _schedules(form)],
        "window": {
            "starts": text_of(form, "window_starts") or "00:00",
            "seconds": _decimal(form, "window_hours", "length of the window") * 3600,
            "weekdays": [int(str(day)) for day in form.getlist("window_days") if str(day).isdecimal()]
            or list(range(7)),
            "time_zone": zone,
        },
        "retention": {
            name: _number(text_of(form, name) or "0", name.replace("_", " "))
            for name in ("keep_days", "daily", "weekly", "monthly", "yearly")
        }
        | {"time_zone": zone},
        "bandwidth": _bandwidth(form, zone),
        "scripts_before": _scripts(form, "before"),
        "scripts_after": _scripts(form, "after"),
        "retries": {
            "count": _number(text_of(form, "retry_count") or "0", "number of retries"),
            "delay_seconds": _decimal(form, "retry_minutes", "delay of retries") * 60,
            "network_patience_seconds": _decimal(form, "patience_minutes", "patience") * 60,
        },
        "allow_live_scan": text_of(form, "allow_live_scan") == "true",
        "first_full_ignores_window": text_of(form, "first_full_ignores_window") == "true",
        "restart_after_abort": text_of(form, "restart_after_abort") == "true",
    }
    try:
        values = PolicyValues.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part).replace("_", " ") for part in first["loc"])
        raise UsageError(f"the policy's {where} cannot be so: {first['msg']}", hint="correct it") from None
    values.policy()
    return values


SECTIONS: Mapping[str, tuple[str, ...]] = {
    "schedules": ("schedules",),
    "window": ("window", "first_full_ignores_window"),
    "retention": ("retention",),
    "bandwidth": ("bandwidth",),
    "scripts": ("scripts_before", "scripts_after"),
    "retries": ("retries", "allow_live_scan", "restart_after_abort"),
}
"""The parts of the form, and the values of a policy that each is about."""


def layer_of(form: FormData) -> PolicyValues:
    """The values of those parts that are chosen in the form (`own`); the others are inherited.

    Raises:
        UsageError: a value makes no sense.
    """
    chosen = {value for name in form.getlist("own") for value in SECTIONS.get(str(name), ())}
    whole = values_of(form)
    return PolicyValues(**{name: getattr(whole, name) for name in chosen})


def own_sections(values: PolicyValues) -> list[str]:
    """The parts of the form of which a layer sets something."""
    kept = values.model_dump(exclude_none=True)
    return [name for name, parts in SECTIONS.items() if any(part in kept for part in parts)]


def _schedules(form: FormData) -> list[ScheduleFields]:
    columns = [
        form.getlist(f"schedule_{name}")
        for name in ("kind", "time", "weekday", "day", "minute", "rule", "zone")
    ]
    columns[-1] += [""] * (len(columns[0]) - len(columns[-1]))
    return [ScheduleFields(*(str(cell).strip() for cell in row)) for row in zip(*columns, strict=False)]


def _bandwidth(form: FormData, zone: str) -> list[dict[str, Any]]:
    columns = [form.getlist(f"limit_{name}") for name in ("mib", "begins", "ends", "days")]
    limits = []
    for mib, begins, ends, days in zip(*columns, strict=False):
        if not str(mib).strip():
            continue
        try:
            limit = float(str(mib))
        except ValueError:
            raise UsageError(f"{mib!r} is no bandwidth", hint="give MiB per second, for example 20") from None
        limits.append(
            {
                "bytes_per_second": int(limit * _MIB),
                "begins": str(begins) or "00:00",
                "ends": str(ends) or "00:00",
                "weekdays": _GROUPED.get(str(days), _GROUPED["all"]),
                "time_zone": zone,
            }
        )
    return limits


def _scripts(form: FormData, when: str) -> list[dict[str, Any]]:
    stops = text_of(form, f"script_{when}_stops") == "true"
    scripts = []
    for line in text_of(form, f"scripts_{when}").splitlines():
        if not line.strip():
            continue
        try:
            command = shlex.split(line)
        except ValueError as error:
            raise UsageError(
                f"the script {line.strip()!r} cannot be read: {error}", hint="close the quotes"
            ) from None
        scripts.append(
            {
                "command": command,
                "seconds": _decimal(form, f"script_{when}_minutes", "time limit") * 60 or 600,
                "failure_stops_job": stops,
            }
        )
    return scripts


def _number(text: str, what: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise UsageError(f"{text!r} is no {what}", hint="give a whole number")
    return int(text)


def _decimal(form: FormData, name: str, what: str) -> float:
    text = text_of(form, name) or "0"
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{text!r} is no {what}", hint="give a number") from None
    if not 0 <= value < 1_000_000:
        raise UsageError(f"{text} is no {what}", hint="give a number from 0 up")
    return value
