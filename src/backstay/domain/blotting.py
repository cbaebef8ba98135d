"""Blots secrets out of what is logged: by the name of the field, and by how they look."""

import re
from collections.abc import MutableMapping
from typing import Any, Final

BLOTTED: Final = "********"

_SECRET_NAME = re.compile(
    r"pass(word|phrase|wd)?|secret|token|authorization|cookie|credential|private_?key|recovery_?key|signature",
    re.IGNORECASE,
)
_SECRET_LOOKS: Final = (
    (re.compile(r"backstay-enrol-[\w-]+"), f"backstay-enrol-{BLOTTED}"),
    (re.compile(r"\b(Bearer|Basic|Agent)\s+[\w.:+/=~-]{8,}", re.IGNORECASE), rf"\1 {BLOTTED}"),
    # The password, or whatever stands before the @ of a URL.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@]+@", re.IGNORECASE), rf"\1{BLOTTED}@"),
    (
        re.compile(r"([?&](?:X-Amz-\w+|token|key|secret|signature|password)=)[^\s&]+", re.IGNORECASE),
        rf"\1{BLOTTED}",
    ),
)


def blot(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blot out secrets in a log event."""
    for name, value in event.items():
        event[name] = BLOTTED if _SECRET_NAME.search(name) and value else _blotted(value)
    return event


def _blotted(value: Any) -> Any:
    if isinstance(value, str):
        for looks, instead in _SECRET_LOOKS:
            value = looks.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {
            name: BLOTTED if isinstance(name, str) and _SECRET_NAME.search(name) and one else _blotted(one)
            for name, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_blotted(one) for one in value]
    return value
