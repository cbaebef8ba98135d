"""The recovery key as people keep it: on paper, typed in again years later, with mistakes."""

import shlex
import textwrap
import time
from dataclasses import dataclass

from backstay.domain.errors import WrongPassphrase

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_KEY_BYTES = 32
_GROUPS = 13
_DATA_LETTERS = 4
_GROUP_LETTERS = _DATA_LETTERS + 1
_LETTERS = _GROUPS * _GROUP_LETTERS
_GROUPS_A_LINE = 5
_ALMOST = _LETTERS * 3 // 4


def _check_letter(group: int, data: str) -> str:
    """The last letter of a group: a polynomial over GF(2⁵), x⁵ + x² + 1, begun with the group's number.

    Each place has its own weight, so that any one wrong letter and any two swapped
    ones are noticed; the number lets two swapped groups be noticed too.
    """
    value = group + 1
    for letter in data:
        value = _times_x(value) ^ _VALUES[letter]
    return _ALPHABET[_times_x(value)]


def _times_x(value: int) -> int:
    return (value << 1) ^ (0b100101 if value & 0b10000 else 0)


@dataclass(frozen=True)
class RecoveryKey:
    """32 random bytes that open the repository when every passphrase is lost.

    As text it is 13 groups of five letters, `ABCDE-FGHJK-…`: 52 letters of Crockford's
    base 32 hold four zero bits and the key, most significant bit first; the fifth letter
    of each group is its check letter.
    """

    secret: bytes

    def __post_init__(self) -> None:
        assert len(self.secret) == _KEY_BYTES

    def __repr__(self) -> str:
        return "RecoveryKey(…)"

    def groups(self) -> list[str]:
        """The 13 groups of the text."""
        number = int.from_bytes(self.secret, "big")
        bits = range((_GROUPS * _DATA_LETTERS - 1) * 5, -1, -5)
        letters = "".join(_ALPHABET[number >> shift & 31] for shift in bits)
        pieces = (letters[at : at + _DATA_LETTERS] for at in range(0, len(letters), _DATA_LETTERS))
        return [piece + _check_letter(index, piece) for index, piece in enumerate(pieces)]

    def __str__(self) -> str:
        return "-".join(self.groups())

    @classmethod
    def parse(cls, text: str) -> "RecoveryKey":
        """Read a recovery key, in any case, with any spaces and dashes, O for 0 and I or L for 1.

        Raises:
            WrongPassphrase: it is none; the hint says which groups are mistyped.
        """
        letters = _plain(text)
        if len(letters) != _LETTERS:
            raise _not_a_key(_wrong_length(text, len(letters)))
        letters = "".join(_ALPHABET[_VALUES[one]] if one in _VALUES else one for one in letters)
        groups = [letters[at : at + _GROUP_LETTERS] for at in range(0, _LETTERS, _GROUP_LETTERS)]
        wrong = [str(index + 1) for index, group in enumerate(groups) if not _group_fits(index, group)]
        if wrong:
            noun = "group" if len(wrong) == 1 else "groups"
            raise _not_a_key(f"look again at {noun} {', '.join(wrong)} of {_GROUPS}, counted from the start")
        number = 0
        for letter in "".join(group[:_DATA_LETTERS] for group in groups):
            number = number << 5 | _VALUES[letter]
        if number >> _KEY_BYTES * 8:
            raise _not_a_key("it was made by a newer version of Backstay: update this one")
        return cls(number.to_bytes(_KEY_BYTES, "big"))


def resembles_recovery_key(text: str) -> bool:
    """Whether someone who typed `text` most likely meant a recovery key, if a mistyped one."""
    letters = _plain(text)
    known = sum(letter in _VALUES for letter in letters)
    return known >= _ALMOST and known >= len(letters) - 3 and len(letters) <= _LETTERS + _GROUP_LETTERS


def _plain(text: str) -> str:
    return "".join(text.upper().replace("-", " ").replace("–", " ").split())


def _group_fits(index: int, group: str) -> bool:
    data, check = group[:_DATA_LETTERS], group[_DATA_LETTERS:]
    return all(letter in _VALUES for letter in data) and check == _check_letter(index, data)


def _wrong_length(text: str, found: int) -> str:
    groups = text.replace("-", " ").replace("–", " ").split()
    if len(groups) == _GROUPS:
        odd = [str(index + 1) for index, group in enumerate(groups) if len(group) != _GROUP_LETTERS]
        return f"each group has {_GROUP_LETTERS} letters; look again at {', '.join(odd)}"
    return f"it has {_GROUPS} groups of {_GROUP_LETTERS} letters, {_LETTERS} in all; {found} were given"


def _not_a_key(hint: str) -> WrongPassphrase:
    return WrongPassphrase("this is not a recovery key as it was printed", hint=hint)


_SHEET = """\
BACKSTAY RECOVERY KEY
=====================

Repository   {location}
Identifier   {identifier}
Made on      {made}

{groups}

What this is
  Whoever holds this key and can reach the repository can read every file in it.
  It is the last way in when all passphrases are lost, and nobody can make it again.

In an emergency, on any machine that can reach the repository
  1. Install Backstay.
  2. Run:  backstay repo restore {command} latest --to FOLDER
  3. Where the passphrase is asked for, type the key above instead. Capital or small
     letters, spaces and dashes do not matter. If a letter is wrong, Backstay says
     in which group.

How to keep it
  Print this page and keep it in a safe place apart from the file servers and from the
  repository. Then delete the file. If a stranger may have seen it, make a new key with
  `backstay repo keys`; this page then opens no backup made afterwards.
"""


def render_sheet(repository_id: bytes, location: str, created: float, recovery_key: RecoveryKey) -> str:
    """The page to print, as plain text.

    Args:
        location: the repository, as it is given on the command line.
        created: when the key was made, in seconds since the epoch; shown in UTC.
    """
    groups = recovery_key.groups()
    lines = []
    for first in range(0, _GROUPS, _GROUPS_A_LINE):
        line = groups[first : first + _GROUPS_A_LINE]
        numbers = f"groups {first + 1:>2} to {first + len(line):>2}"
        lines.append(f"{numbers}    {'-'.join(line)}")
    printable = location.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _SHEET.format(
        location=printable,
        identifier=repository_id.hex(),
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(created)),
        groups=textwrap.indent("\n".join(lines), "    "),
        command=shlex.quote(printable),
    )
