"""What administrators may call things, and write about them."""

from backstay.domain.errors import UsageError

LONGEST_NAME = 64
LONGEST_COMMENT = 4000


def checked_name(what: str, name: str) -> str:
    """The name without spaces around it.

    Args:
        what: what is named, with its article: "a policy".

    Raises:
        UsageError: it cannot be a name.
    """
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name or name.isdecimal():
        raise UsageError(
            f"that cannot be the name of {what}",
            hint=f"use 1 to {LONGEST_NAME} printable characters, no /, and not digits alone",
        )
    return name


def checked_text(what: str, text: str, longest: int = LONGEST_COMMENT) -> str:
    """The text, which may have several lines. Raises UsageError where it cannot be kept."""
    if len(text) > longest:
        raise UsageError(f"{what} has more than {longest:,} characters", hint="make it shorter")
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text):
        raise UsageError(f"{what} holds a NUL character, or half of one beyond U+FFFF", hint="leave it out")
    return text
