"""What `backstay doctor` looks at on Windows, as far as wine has it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from backstay.agent import doctor, doctor_windows
from backstay.agent.inventory import take_inventory
from backstay.domain.checkup import Health, Verdict, examine

NOT_IN_WINE = {
    *("alternate data streams", "attributes and time of creation", "sparse files", "compressed files"),
    *("symbolic links", "junctions", "names that few programs can open"),
    "replacing what is open and read-only",
}


@pytest.fixture
def subject(tmp_path: Path) -> SimpleNamespace:
    """An agent's folder."""
    return SimpleNamespace(folder=tmp_path)


def verdicts(subject: SimpleNamespace, name: str) -> list[Verdict]:
    """Of one check."""
    return [verdict for check, verdict in examine(doctor_windows.CHECKS, subject) if check == name]


def test_trials_leave_nothing_behind(subject: SimpleNamespace) -> None:
    """Every trial says what it saw, and takes away what it made."""
    found = verdicts(subject, "fidelity")
    assert len(found) == 12
    assert list(subject.folder.iterdir()) == []
    bad = {one.saw.partition(":")[0] for one in found if one.health is not Health.OK}
    if doctor_windows.is_wine():
        assert bad <= NOT_IN_WINE
    else:
        assert not bad, found
    assert all(one.mend for one in found if one.health is not Health.OK)


def test_looks_at_what_a_build_machine_cannot_have(subject: SimpleNamespace) -> None:
    """Without VSS the check fails with words; the others are well."""
    (shadows,) = verdicts(subject, "shadow copies")
    if doctor_windows.is_wine():
        assert "no service VSS" in shadows.saw
    else:
        assert shadows.health is Health.OK, shadows
    (rights,) = verdicts(subject, "rights")
    assert "SeBackup" in rights.saw or rights.saw == "this process lacks SeCreateSymbolicLinkPrivilege"
    for name in ("chunker", "secret"):
        (verdict,) = verdicts(subject, name)
        assert verdict.health is Health.OK, verdict
    (service,) = verdicts(subject, "service")
    assert "BackstayAgent" in service.saw


def test_windows_looks_once_at_each_thing() -> None:
    """The checks of both systems are one list without doubles."""
    names = [check.name for check in doctor.CHECKS]
    assert len(names) == len(set(names))
    assert {"enrolment", "shadow copies", "fidelity"} <= set(names)


def test_takes_an_inventory() -> None:
    """Volumes as users write them, with their room."""
    found = take_inventory()
    assert any(volume.path == "C:\\" and volume.bytes > volume.used > 0 for volume in found.volumes)
    assert not any("windows" in folder.path.lower() for folder in found.folders)
