"""Where a command says what it did: lines for people, or with --json one JSON object a line."""

import base64
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from backstay.cli.text import shown


class Output:
    """Standard output and standard error of one command.

    Args:
        as_json: print JSON lines, and nothing else, on standard output.
        verbose: tell everything.
    """

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.verbose = verbose

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches standard output."""
        return not self.as_json and sys.stdout.isatty()

    def line(self, text: str = "") -> None:
        """A line for people; nothing with --json."""
        if not self.as_json:
            print(text)

    def event(self, event: str, fields: Mapping[str, Any]) -> None:
        """A JSON line; nothing without --json."""
        if self.as_json:
            print(json.dumps({"event": event, **fields}, ensure_ascii=True), flush=True)

    def note(self, text: str) -> None:
        """A remark on standard error, in both forms."""
        with suppress(OSError):
            sys.stdout.flush()
        print(f"backstay: {shown(text)}", file=sys.stderr)


def path_fields(path: bytes, name: str = "path") -> dict[str, str]:
    """A path for JSON, which holds text only: where it is not UTF-8, its bytes follow in base64."""
    try:
        return {name: path.decode()}
    except UnicodeDecodeError:
        return {name: path.decode(errors="replace"), f"{name}_base64": base64.b64encode(path).decode()}
