"""A policy's values as options: the usual ones one by one, all of them in a JSON file."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from backstay.cli import options
from backstay.domain.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])

_WINDOW = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)")
_DAY_MINUTES = 24 * 60
_COUNTS = ("keep_days", "daily", "weekly", "monthly", "yearly")


def policy_options(function: _F) -> _F:
    """Add the options that `values_from` reads."""
    for option in reversed(
        [
            click.option(
                "--schedule", metavar="RULE", multiple=True, help='When: five cron fields, as "30 22 * * *".'
            ),
            click.option("--by-hand", is_flag=True, help="No schedule at all."),
            click.option(
                "--window", metavar="FROM-TO", help="When scheduled backups may begin: 22:00-06:00, or none."
            ),
            click.option(
                "--time-zone", metavar="ZONE", default="UTC", help="Of schedule, window and retention [UTC]."
            ),
            click.option("--keep-days", type=int, metavar="N", help="Keep every restore point for N days."),
            click.option("--daily", type=int, metavar="N", help="Then one of each of N days."),
            click.option("--weekly", type=int, metavar="N", help="One of each of N weeks."),
            click.option("--monthly", type=int, metavar="N", help="One of each of N months."),
            click.option("--yearly", type=int, metavar="N", help="One of each of N years."),
            click.option("--retries", type=int, metavar="N", help="Try a failed backup N times again."),
            click.option(
                "--restart-after-abort/--no-restart-after-abort",
                default=None,
                help="Whether a fresh backup follows at once when a restart aborted one.",
            ),
            click.option(
                "--live-scan/--no-live-scan",
                default=None,
                help="Whether live files may be read where no recovery point can be made.",
            ),
            click.option(
                "--values", type=options.FILE, metavar="FILE", help="All values, as JSON of the API."
            ),
        ]
    ):
        function = option(function)
    return function


def values_from(given: dict[str, Any], before: dict[str, Any]) -> dict[str, Any] | None:
    """A policy's values after these options; None where none of them was given.

    Args:
        given: the options by name.
        before: the values so far; what no option names stays.

    Raises:
        UsageError: an option or the file cannot be understood.
    """
    zone = given["time_zone"]
    values = _from_file(given["values"]) if given["values"] else {}
    if given["schedule"] and given["by_hand"]:
        raise UsageError("--schedule and --by-hand contradict each other", hint="give one of them")
    if given["schedule"]:
        values["schedules"] = [{"rule": rule, "time_zone": zone} for rule in given["schedule"]]
    if given["by_hand"]:
        values["schedules"] = []
    if given["window"]:
        values["window"] = {**_window(given["window"]), "time_zone": zone}
    counts = {name: given[name] for name in _COUNTS if given[name] is not None}
    if counts:
        values["retention"] = {**(before.get("retention") or {}), "time_zone": zone, **counts}
    if given["retries"] is not None:
        values["retries"] = {**(before.get("retries") or {}), "count": given["retries"]}
    for option, name in (("restart_after_abort", "restart_after_abort"), ("live_scan", "allow_live_scan")):
        if given[option] is not None:
            values[name] = given[option]
    if not values:
        return None
    return {name: value for name, value in before.items() if value is not None} | values


def _window(text: str) -> dict[str, Any]:
    if text == "none":
        return {"seconds": 0}
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise UsageError(f"{text} is no backup window", hint="write 22:00-06:00, or none")
    starts, ends = (int(one[:2]) * 60 + int(one[3:]) for one in found.groups())
    minutes = (ends - starts) % _DAY_MINUTES or _DAY_MINUTES
    return {"starts": found[1], "seconds": minutes * 60}


def _from_file(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint="check its path and mode") from None
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}", hint="write an object of a policy's values") from None
    if not isinstance(values, dict):
        raise UsageError(f"{file} holds no object", hint="write an object of a policy's values")
    return values


def described(values: dict[str, Any]) -> list[tuple[str, str]]:
    """A policy's values in words, for people."""
    lines: list[tuple[str, str]] = []
    if values.get("schedules") is not None:
        rules = [f"{one['rule']} ({one['time_zone']})" for one in values["schedules"]]
        lines.append(("schedules", "; ".join(rules) or "by hand only"))
    if values.get("window") is not None:
        window = values["window"]
        hours = window["seconds"] / 3600
        text = f"{window['starts']} for {hours:g} h ({window['time_zone']})" if hours else "none"
        lines.append(("window", text))
    if values.get("retention") is not None:
        kept = [f"{values['retention'][name]} {name.replace('_', ' ')}" for name in _COUNTS]
        lines.append(("retention", ", ".join(one for one in kept if not one.startswith("0 "))))
    if values.get("retries") is not None:
        retries = values["retries"]
        lines.append(("retries", f"{retries['count']}, each after {retries['delay_seconds'] / 60:g} min"))
    lines += [
        (name, json.dumps(values[name]) if values[name] else "none")
        for name in ("bandwidth", "scripts_before", "scripts_after")
        if values.get(name) is not None
    ]
    lines += [
        (name, "yes" if values[name] else "no")
        for name in ("allow_live_scan", "first_full_ignores_window", "restart_after_abort")
        if values.get(name) is not None
    ]
    return lines
