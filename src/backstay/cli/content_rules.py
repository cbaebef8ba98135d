"""The content rule of a command line: default rules, then a file of rules, then single patterns."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from backstay.domain.content_rule import ContentRule
from backstay.domain.errors import UsageError
from backstay.repository.repository import Repository, cache_root

_SPECIAL = re.compile(rb"([\\*?\[\] !#])")


def rules_from(file: Path | None, excludes: Sequence[str], *, default_rules: bool = True) -> ContentRule:
    """What the options ask for; the later ones win.

    Raises:
        UsageError: the file cannot be read.
        RuleError: a rule cannot be understood.
    """
    rule = ContentRule()
    if default_rules:
        from backstay.domain.default_rules import linux_rules

        rule += linux_rules()
    if file is not None:
        try:
            text = file.read_bytes()
        except OSError as error:
            raise UsageError(
                f"the rules in {file} cannot be read: {error.strerror}", hint="check its path and mode"
            ) from None
        rule += ContentRule.parse(text, str(file))
    if excludes:
        rule += ContentRule.from_patterns([os.fsencode(pattern) for pattern in excludes])
    return rule


def rule_text(rule: ContentRule) -> str:
    """The lines of a rule, to be kept in the restore point's record."""
    return "\n".join(one.text.decode(errors="backslashreplace") for one in rule.rules)


def own_places(repository: Repository) -> ContentRule:
    """Leaves out the repository itself and what Backstay remembers here: both change while a backup runs."""
    from backstay.backup.scan_state import state_root

    places = [Path(repository.storage.location), cache_root(), state_root()]
    lines = [
        b"/" + _SPECIAL.sub(rb"\\\1", os.fsencode(place.resolve()).lstrip(b"/")) + b"/"
        for place in places
        if place.is_absolute()
    ]
    return ContentRule.from_patterns(lines, "Backstay's own folders")
