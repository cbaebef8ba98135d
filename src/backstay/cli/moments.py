"""Moments as people write and read them, and as the API does."""

from datetime import datetime
from typing import Any

import click

from backstay.cli.text import local_time


def local(moment: str | None) -> str:
    """A moment of the API (RFC 3339) by this machine's clock; empty for None."""
    if moment is None:
        return ""
    return local_time(int(datetime.fromisoformat(moment).timestamp()) * 1_000_000_000)


class Moment(click.ParamType[str]):
    """An option's moment: 2026-03-01, 2026-03-01T14:05, by this machine's clock where it names no zone."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As the API takes it."""
        try:
            return datetime.fromisoformat(str(value)).astimezone().isoformat()
        except (ValueError, OverflowError):
            self.fail(f"{value} is no moment: write 2026-03-01 or 2026-03-01T14:05", param, ctx)
