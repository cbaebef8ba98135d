"""The content rule of a command line: default rules, then a file of rules, then single patterns."""

import os
from collections.abc import Sequence
from pathlib import Path

from backstay.domain.content_rule import ContentRule
from backstay.domain.errors import UsageError


def rules_from(file: Path | None, excludes: Sequence[str], *, default_rules: bool = True) -> ContentRule:
    """What the options ask for; the later ones win.

    Raises:
        UsageError: the file cannot be read.
        RuleError: a rule cannot be understood.
    """
    rule = ContentRule()
    if default_rules:
        from backstay.domain.default_rules import rules_of_this_system

        rule += rules_of_this_system()
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
