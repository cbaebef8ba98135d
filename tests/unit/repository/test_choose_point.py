"""Which restore point a user means."""

import pytest

from backstay.domain.entry import Totals
from backstay.domain.errors import UsageError
from backstay.repository.manifest import Manifest, RestorePoint, choose_point


def point(number: int, server: str, backup_set: str) -> RestorePoint:
    """A restore point whose id begins with its number, four times."""
    manifest = Manifest(
        1, bytes(16), server, backup_set, 1, b"", bytes(16), number, "full", bytes(32), bytes(32), Totals(),
        0, 0, 0, 0, "1",
    )  # fmt: skip
    return RestorePoint(bytes([number]) * 4 + bytes(28), manifest)


POINTS = [
    point(1, "alpha", "docs"),
    point(2, "beta", "docs"),
    point(3, "alpha", "mail"),
    point(4, "beta", "docs"),
]


def test_latest_of_a_set_on_a_file_server() -> None:
    """A set is named by itself where one file server has it, else with its file server."""
    assert choose_point(POINTS, "latest", backup_set="mail") == POINTS[2]
    assert choose_point(POINTS, "latest", backup_set="alpha/docs") == POINTS[0]
    assert choose_point(POINTS, "latest", backup_set="beta/docs") == POINTS[3]


def test_what_could_mean_several_is_refused_with_names_to_choose_from() -> None:
    """The hint of a refusal can be typed as it is."""
    with pytest.raises(UsageError) as caught:
        choose_point(POINTS, "latest", backup_set="docs")
    assert caught.value.hint.endswith("alpha/docs, beta/docs")
    for name in caught.value.hint.rpartition(": ")[2].split(", "):
        choose_point(POINTS, "latest", backup_set=name)


def test_the_beginning_of_an_id_is_enough() -> None:
    """Four digits that fit one point name it; fewer, or none that fit, are refused."""
    assert choose_point(POINTS, "0202") == POINTS[1]
    for wanted in ("020", "0a0a", "nonsense"):
        with pytest.raises(UsageError):
            choose_point(POINTS, wanted)
