"""A server that stays up, and what agents back up."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from backstay.testing.fleet_rig import FleetRig


@pytest.fixture(scope="session")
def lasting_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetRig]:
    """A server for all tests that let it live."""
    with FleetRig(tmp_path_factory.mktemp("fleet")) as rig:
        yield rig


@pytest.fixture
def rig(lasting_rig: FleetRig) -> Iterator[FleetRig]:
    """The lasting server; a test's agents end with it."""
    yield lasting_rig
    lasting_rig.end_agents()


def fill(folder: Path, megabytes: float, seed: int) -> Path:
    """A folder with files of many sizes that cannot be compressed, links, and names that are no text."""
    random = Random(seed)
    left = int(megabytes * (1 << 20))
    number = 0
    while left > 0:
        size = min(left, random.choice([300, 5_000, 90_000, 700_000, 3_000_000]))
        place = folder / f"folder-{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"file-{number}").write_bytes(random.randbytes(size))
        left -= size
        number += 1
    (folder / os.fsdecode(b"no \xff text")).write_bytes(b"content")
    (folder / "link").symlink_to("folder-0")
    os.link(folder / "folder-0" / "file-0", folder / "hard link")
    return folder


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A tree that fills a few packs, unlike that of any other test."""
    return fill(tmp_path / "source", 75, hash(request.node.nodeid))


@pytest.fixture
def small_source(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A tree that fills a part of a pack."""
    return fill(tmp_path / "small", 2, hash(request.node.nodeid))
