"""The repositories of earlier releases, kept for ever: each opens, restores, verifies and goes on."""

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from make_kept_repository import HOST, SOURCE, brief, describe
from second_reader import SecondReader

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.domain.errors import WrongPassphrase
from backstay.repository.prune import run_prune
from backstay.repository.rebuild import run_rebuild
from backstay.repository.repository import Repository
from backstay.repository.verify import run_verify
from backstay.restore.plan import plan_restore
from backstay.restore.workflow import run_restore
from backstay.storage.local import LocalStorage

KEPT = sorted(path for path in (Path(__file__).parent / "repositories").iterdir() if path.is_dir())
HASHED = 64 << 20


class Copy:
    """A copy of a kept repository, what opens it, and what it must hold."""

    def __init__(self, kept: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(kept / "repository", folder)
        self.opens: dict[str, Any] = json.loads((kept / "opens.json").read_text())
        self.holds: dict[str, Any] = json.loads((kept / "holds.json").read_text())

    def open(self, secret: str | None = None) -> Repository:
        """Open it, with its first passphrase where no other is given."""
        return Repository.open(LocalStorage(self.folder), secret or self.opens["passphrases"][0])

    @property
    def keys(self) -> list[str]:
        """Everything that opens it."""
        return [*self.opens["passphrases"], self.opens["recovery_key"]]


@pytest.fixture(params=KEPT, ids=lambda path: path.name)
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """A copy of each kept repository in turn."""
    monkeypatch.setenv("BACKSTAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    return Copy(request.param, tmp_path / "repository")


def described(reader: SecondReader, entry: dict[str, Any]) -> dict[str, Any]:
    """An entry in the form of `holds.json`."""
    found = {name: entry[name] for name in ("mode", "uid", "gid", "mtime_ns", "nlink", "rdev")}
    found["xattrs"] = {name.hex(): value.hex() for name, value in entry["xattrs"]}
    if stat.S_ISLNK(entry["mode"]):
        found["target"] = entry["inline"].hex()
    if stat.S_ISREG(entry["mode"]):
        content = bytearray(entry["inline"] or b"")
        for length, piece in reader.pieces(entry["chunks"] or []):
            if len(content) < HASHED:
                content += piece if piece is not None else bytes(min(length, HASHED - len(content)))
        found["size"] = entry["size"]
        found["sha256"] = hashlib.sha256(content[:HASHED]).hexdigest()
    return found


def test_every_key_opens_it_and_every_point_is_listed(kept: Copy) -> None:
    """Passphrases and recovery key open it; restore points are there, but for those taken out."""
    for secret in kept.keys:
        assert [point.id.hex() for point in kept.open(secret).points()] == list(kept.holds)
    with pytest.raises(WrongPassphrase):
        kept.open("something else")


def test_the_second_reader_finds_what_it_must_hold(kept: Copy) -> None:
    """Every entry is there with content and metadata, for a reader that knows the format page alone."""
    for from_trailers in (False, True):
        reader = SecondReader(kept.folder, kept.opens["recovery_key"], from_trailers=from_trailers)
        for point, manifest in reader.points().items():
            below = os.fsencode(SOURCE)
            found = {
                path.hex(): described(reader, entry)
                for path, entry in reader.walk(manifest["root"])
                if path.startswith(below)
            }
            assert brief(found) == kept.holds[point]


def test_it_is_intact_to_the_last_blob(kept: Copy) -> None:
    """Verify finds nothing wrong."""
    outcome = run_verify(kept.open(), data_percent=100)
    assert outcome.damages == []
    assert outcome.blobs > 0


def test_it_is_restored(kept: Copy, tmp_path: Path) -> None:
    """Each restore point is restored with what `holds.json` says of it."""
    repository = kept.open(kept.opens["recovery_key"])
    for point in repository.points():
        target = tmp_path / point.short_id
        is_root = os.geteuid() == 0
        plan = plan_restore(
            repository, point, target=os.fsencode(target), with_permissions=is_root, numeric_ids=True
        )
        with plan:
            outcome = run_restore(plan)
        if is_root:
            assert outcome.problems == []
            compare(target, kept.holds[point.id.hex()])


def compare(target: Path, holds: dict[str, Any]) -> None:
    """Require that the restored tree is as described."""
    top = os.fsencode(target)
    source = top + os.fsencode(SOURCE)
    paths = [source]
    for folder, folders, files in os.walk(source):
        paths += [os.path.join(folder, name) for name in (*folders, *files)]
    assert brief({path[len(top) :].hex(): describe(path) for path in sorted(paths)}) == holds


def test_it_goes_on_being_used(kept: Copy, tmp_path: Path) -> None:
    """Today's program backs up into it, prunes and rebuilds it, and all stays whole."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(3000))
    repository = kept.open()
    before = repository.points()[-1]
    request = BackupRequest([os.fsencode(source)], backup_set="kept", file_server=HOST)
    point = run_backup(repository, request, Silent()).point
    assert point.manifest.sequence == before.manifest.sequence + 1
    assert point.manifest.previous == before.id
    oldest = repository.points()[0].id
    run_prune(repository, lambda points: [old for old in points if old.id == oldest], grace_seconds=0)
    run_rebuild(kept.open())
    again = kept.open()
    assert [kept_point.id.hex() for kept_point in again.points()] == [*list(kept.holds)[1:], point.id.hex()]
    assert run_verify(again, data_percent=100).intact
