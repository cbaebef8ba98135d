"""The default rules leave out only what the system makes again."""

import stat

import pytest

from backstay.domain.default_rules import linux_rules, windows_rules
from backstay.domain.entry import FileStat

REGULAR = FileStat(b"", stat.S_IFREG, 1, 0, 0, 1, 0, 0, 1)


@pytest.mark.parametrize(
    "path", [b"proc/1", b"sys/kernel", b"dev/sda", b"run/lock", b"swapfile", b"swap.img"]
)
def test_what_linux_makes_again_is_left_out_with_its_reason(path: bytes) -> None:
    """Each default exclusion names its origin and says why."""
    verdict = linux_rules().verdict(path, False, REGULAR, 0)
    assert not verdict.included
    assert verdict.rule is not None
    assert verdict.rule.origin == "default rules"
    assert verdict.rule.comment
    assert verdict.rule.comment in verdict.reason


NOT_MADE_AGAIN = [b"proc", b"dev", b"tmp/work.txt", b"var/tmp/a", b"home/u/proc/a", b"lost+found/#12"]
NOT_MADE_AGAIN += [b"srv/film.mp4", b"home/u/.cache/a", b"srv/disk.iso", b"srv/a.tmp", b"srv/swapfile"]


@pytest.mark.parametrize("path", NOT_MADE_AGAIN)
def test_what_a_person_may_miss_stays_in(path: bytes) -> None:
    """Mount points, temporary folders, caches, rescued files and documents of any type are backed up."""
    assert linux_rules().explain(path, False, REGULAR, 0)[-1][1].included


def test_a_folder_called_like_a_swap_file_stays_in() -> None:
    """The rules for swap files mean files only."""
    assert linux_rules().verdict(b"var/swap", True, None, 0).included


@pytest.mark.parametrize(
    "path", [b"C:/pagefile.sys", b"D:/System Volume Information/x", b"C:/$Recycle.Bin/S-1/a"]
)
def test_what_windows_makes_again_is_left_out(path: bytes) -> None:
    """On every drive, and only at its root."""
    assert not windows_rules().explain(path, False, REGULAR, 0)[-1][1].included
    assert windows_rules().explain(b"C:/Users/u/" + path[3:], False, REGULAR, 0)[-1][1].included


def test_every_default_rule_has_its_reason() -> None:
    """No line without a comment."""
    assert all(rule.comment for rules in (linux_rules(), windows_rules()) for rule in rules.rules)
