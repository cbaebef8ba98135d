"""The recovery key survives being printed and typed in again."""

import os
import random

import pytest

from backstay.domain.errors import WrongPassphrase
from backstay.repository.recovery_sheet import RecoveryKey, render_sheet, resembles_recovery_key

KEY = RecoveryKey(bytes(range(0, 256, 8)))
STABLE = "0008N-20C2Y-0A1GM-7104B-GM2RG-C1M7W-0Y400-H289Q-H858V-P2WCJ-1J6GB-V3GEV-HW7RK"
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, random.Random(1).randbytes(32)])
def test_round_trip(secret: bytes) -> None:
    """The text of a key reads back as the same key."""
    assert RecoveryKey.parse(str(RecoveryKey(secret))) == RecoveryKey(secret)


def test_text_is_stable() -> None:
    """The printed form never changes: sheets are kept for decades."""
    assert str(KEY) == STABLE


@pytest.mark.parametrize(
    "typed",
    [
        lambda text: text.lower(),
        lambda text: text.replace("-", " "),
        lambda text: text.replace("-", ""),
        lambda text: text.replace("-", "\n", 3).replace("-", " - "),
        lambda text: f"  {text}\n",
        lambda text: text.replace("0", "o").replace("1", "l"),
        lambda text: text.replace("0", "O").replace("1", "I"),
        lambda text: " ".join(text.replace("-", "")),
    ],
)
def test_tolerates_how_people_type(typed) -> None:  # type: ignore[no-untyped-def]
    """Case, spaces, dashes, line ends, and the look-alikes O, I and L do not matter."""
    assert RecoveryKey.parse(typed(str(KEY))) == KEY


def test_names_the_group_of_every_wrong_letter() -> None:
    """Each single wrong letter is noticed, and exactly its group named."""
    text = str(KEY)
    for at, right in enumerate(text):
        if right == "-":
            continue
        for wrong in ALPHABET + "U*":
            if wrong != right:
                with pytest.raises(WrongPassphrase) as caught:
                    RecoveryKey.parse(text[:at] + wrong + text[at + 1 :])
                assert f"at group {at // 6 + 1} of 13" in caught.value.hint


def test_notices_swapped_letters() -> None:
    """Any two letters swapped within a group are noticed."""
    groups = RecoveryKey(os.urandom(32)).groups()
    for index, group in enumerate(groups):
        for one in range(5):
            for two in range(one):
                if group[one] == group[two]:
                    continue
                letters = list(group)
                letters[one], letters[two] = letters[two], letters[one]
                typed = [*groups[:index], "".join(letters), *groups[index + 1 :]]
                with pytest.raises(WrongPassphrase):
                    RecoveryKey.parse("-".join(typed))


def test_notices_swapped_groups() -> None:
    """Two groups swapped are both named."""
    groups = KEY.groups()
    groups[2], groups[5] = groups[5], groups[2]
    with pytest.raises(WrongPassphrase) as caught:
        RecoveryKey.parse("-".join(groups))
    assert "groups 3, 6 of 13" in caught.value.hint


def test_names_the_group_with_a_letter_too_few() -> None:
    """A letter left out is located where the groups are still apart."""
    groups = KEY.groups()
    groups[6] = groups[6][1:]
    with pytest.raises(WrongPassphrase) as caught:
        RecoveryKey.parse(" ".join(groups))
    assert caught.value.hint.endswith("look again at 7")


def test_counts_letters_where_a_group_is_missing() -> None:
    """A key typed only in part says how much was given and how much is needed."""
    with pytest.raises(WrongPassphrase) as caught:
        RecoveryKey.parse("-".join(KEY.groups()[:12]))
    assert "65 in all; 60 were given" in caught.value.hint


def test_resemblance() -> None:
    """A mistyped key is known as one; passphrases are not."""
    text = str(KEY)
    assert resembles_recovery_key(text)
    assert resembles_recovery_key(text[:-6])
    assert resembles_recovery_key(text.replace("A", "*", 1))
    for passphrase in ("", "hunter2", "correct horse battery staple", "é" * 65, text * 2):
        assert not resembles_recovery_key(passphrase)


def test_key_is_not_in_its_repr() -> None:
    """A log line or traceback that shows the object does not show the key."""
    assert KEY.groups()[0] not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)


def test_sheet_holds_all_that_an_emergency_needs() -> None:
    """The page names the repository, the way to restore, and holds the whole key."""
    page = render_sheet(bytes(range(16)), "/srv/it's a backup", 0, KEY)
    assert "/srv/it's a backup" in page
    assert bytes(range(16)).hex() in page
    assert "1970-01-01 00:00 UTC" in page
    assert """backstay repo restore '/srv/it'"'"'s a backup' latest --to""" in page
    printed = [line.split()[-1] for line in page.splitlines() if line.lstrip().startswith("groups")]
    assert RecoveryKey.parse("\n".join(printed)) == KEY
    assert max(map(len, page.splitlines())) <= 92


def test_sheet_can_be_written_whatever_the_place_is_called() -> None:
    """A folder whose name is not UTF-8 does not keep the sheet from being saved."""
    assert b"b\\xffckup" in render_sheet(bytes(16), "/srv/b\udcffckup", 0, KEY).encode()
