"""Which places of a file server its backup sets cover, and which nobody protects.

A set covers a path of its own and what lies below it; without `cross_mounts` only on the same volume. Paths
are text as people see them; on Windows case and the kind of slash make no difference.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from backstay.domain.content_rule import ContentRule

_DRIVE = re.compile(r"[A-Za-z]:")


class Coverage(StrEnum):
    """How a place is protected; the first that applies counts."""

    COVERED = "covered"
    PARTLY = "partly"
    """Only some of what is in it belongs to a set."""
    LEFT_OUT = "left_out"
    """It belongs to a set, and the set's content rule leaves it out."""
    UNCOVERED = "uncovered"


@dataclass(frozen=True)
class CoveringSet:
    """A backup set, as far as coverage goes; `rule` has the default rules in it, where these hold."""

    id: int
    paths: tuple[str, ...]
    cross_mounts: bool
    rule: ContentRule


@dataclass(frozen=True)
class Verdict:
    """How one place is protected, by which sets, and why it is left out where it is."""

    coverage: Coverage
    sets: tuple[int, ...]
    reason: str = ""


def judge(place: str, sets: Sequence[CoveringSet], volumes: Sequence[str], now_ns: int) -> Verdict:
    """How a folder is protected.

    Args:
        place: its path.
        volumes: the paths at which volumes are mounted.
        now_ns: for rules about age.
    """
    wanted = _normal(place)
    mounts = sorted((_normal(volume) for volume in volumes), key=len, reverse=True)
    covering = [one for one in sets if _covers(one, wanted, mounts)]
    reasons = {one.id: _left_out(one.rule, place, now_ns) for one in covering}
    full = tuple(one.id for one in covering if not reasons[one.id])
    if full:
        return Verdict(Coverage.COVERED, full)
    within = tuple(one.id for one in sets if any(_is_below(_normal(path), wanted) for path in one.paths))
    if within:
        return Verdict(Coverage.PARTLY, within)
    if covering:
        return Verdict(Coverage.LEFT_OUT, tuple(reasons), next(iter(reasons.values())))
    return Verdict(Coverage.UNCOVERED, ())


def _covers(one: CoveringSet, wanted: str, mounts: Sequence[str]) -> bool:
    for path in one.paths:
        root = _normal(path)
        if _is_below(wanted, root) and (one.cross_mounts or _volume(root, mounts) == _volume(wanted, mounts)):
            return True
    return False


def _volume(path: str, mounts: Sequence[str]) -> str:
    """The volume that a path lies on; `mounts` with the longest first."""
    return next((mount for mount in mounts if _is_below(path, mount)), "")


def _left_out(rule: ContentRule, place: str, now_ns: int) -> str:
    path = place.replace("\\", "/") if _is_windows(place) else place
    verdicts = rule.explain(path.strip("/").encode("utf-8", "surrogateescape"), True, None, now_ns)
    last = verdicts[-1][1]
    return "" if last.included else last.reason


def _normal(path: str) -> str:
    """Without a slash at the end; the root is empty."""
    if _is_windows(path):
        path = path.replace("\\", "/").casefold()
    return path.rstrip("/")


def _is_windows(path: str) -> bool:
    return bool(_DRIVE.match(path)) or path.startswith("\\\\")


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith(above + "/")
