"""What a backup leaves out of itself, and how a rule is kept in its record."""

import re
from collections.abc import Sequence
from pathlib import Path

from backstay.domain.content_rule import ContentRule
from backstay.system.host import chosen_path
from backstay.system.places import cache_root, state_root

_SPECIAL = re.compile(rb"([\\*?\[\] !#])")


def rule_text(rule: ContentRule) -> str:
    """The lines of a rule, to be kept in the restore point's record."""
    return "\n".join(one.text.decode(errors="backslashreplace") for one in rule.rules)


def own_places(location: str, others: Sequence[Path] = ()) -> ContentRule:
    """Leaves out the repository itself and what Backstay remembers here: both change while a backup runs.

    Args:
        location: of the repository's storage.
        others: further folders of Backstay on this machine.
    """
    return leaving_out([Path(location), *others])


def leaving_out(others: Sequence[Path]) -> ContentRule:
    """Leaves out these folders, and what Backstay remembers on this machine."""
    places = [*others, cache_root(), state_root()]
    lines = [
        b"/" + _SPECIAL.sub(rb"\\\1", chosen_path(str(place.resolve())).lstrip(b"/")) + b"/"
        for place in places
        if place.is_absolute()
    ]
    return ContentRule.from_patterns(lines, "Backstay's own folders")
