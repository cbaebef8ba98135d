"""The figures that Backstay has to hold, and whether it does.

"At least" is a promise, "aim" a wish. Ratios say how many times faster Backstay is than
restic 0.19 in the same run: two cores, warm cache, encrypted, defaults of both.
"""

from dataclasses import dataclass

FIRST, SECOND, CHANGED, RESTORE, VERIFIED = (
    "first backup",
    "unchanged second backup",
    "incremental, 1 % changed",
    "restore",
    "restore, verified",
)
SMALL, LARGE = "small files", "large files"

MOST_MEMORY = 250_000_000
"""Peak memory for 100,000 files, bytes."""

MOST_SIZE = 1.0
AIM_SIZE = 0.85
"""Size of the repository as a part of restic's."""


@dataclass(frozen=True)
class Figure:
    """Times faster than restic."""

    at_least: float
    aim: float

    def verdict(self, ratio: float) -> str:
        """Whether a measured ratio holds it, in words."""
        if ratio >= self.aim:
            return f"aim {self.aim:g} × reached"
        if ratio >= self.at_least:
            return f"holds {self.at_least:g} ×, aim {self.aim:g} ×"
        return f"**misses {self.at_least:g} ×**"


SPEED = {
    (SMALL, FIRST): Figure(3.5, 6),
    (SMALL, SECOND): Figure(7, 20),
    (LARGE, FIRST): Figure(2.5, 4),
    (SMALL, RESTORE): Figure(1.5, 3),
    (LARGE, RESTORE): Figure(1.5, 3),
}


def size_verdict(ours: int, restics: int) -> str:
    """Whether the repository is small enough, in words."""
    part = ours / restics
    if part <= AIM_SIZE:
        return f"{part:.2f} of restic's, aim {AIM_SIZE} reached"
    if part <= MOST_SIZE:
        return f"{part:.2f} of restic's, holds; aim {AIM_SIZE}"
    return f"**{part:.2f} of restic's**"


def memory_verdict(ours: int, restics: int | None) -> str:
    """Whether the peak memory is small enough, in words."""
    if ours > MOST_MEMORY:
        return "**more than 250 MB**"
    if restics is not None and ours <= restics:
        return "holds 250 MB, aim (restic's) reached"
    return "holds 250 MB"
