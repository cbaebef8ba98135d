"""Damage costs what it touches, names it, and never leaves a broken file looking whole."""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from backstay.domain.errors import KeyMissing
from backstay.repository.layout import pack_name
from backstay.repository.pack import BlobKind, read_trailer
from backstay.repository.repository import Repository
from backstay.restore.plan import plan_restore
from backstay.restore.progress import VERIFY, Silent
from backstay.restore.workflow import run_restore


def pack_path(bench, digest: bytes) -> Path:
    """The file that holds a pack."""
    return Path(bench.repository.storage.location) / pack_name(digest)


def frames_of_content(bench):
    """Every frame of content: its pack's path, its place there, and how many blobs it has."""
    index = bench.repository.load_index()
    for digest in index.packs():
        trailer = read_trailer(
            bench.repository.storage, pack_name(digest), bench.repository.secrets.catalogue_key
        )
        for number, frame in enumerate(trailer.frames):
            blobs = [blob for blob in trailer.blobs() if blob.frame == number and blob.kind == 0]
            if blobs:
                yield pack_path(bench, digest), frame, blobs


def flip(path: Path, at: int) -> None:
    """Change one byte."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.fixture
def filled(own_bench):
    """Sixty small files in several frames, and one in pieces; all content differs."""
    noise = random.Random(3)
    for number in range(60):
        (own_bench.source / f"small {number:02d}").write_bytes(noise.randbytes(60_000))
    (own_bench.source / "large").write_bytes(noise.randbytes(6_000_000))
    (own_bench.source / "tiny").write_bytes(b"tiny")
    os.link(own_bench.source / "small 05", own_bench.source / "a name of small 05")
    return own_bench


def test_one_flipped_byte_costs_the_files_of_one_frame(filled):
    """Exactly the files of the damaged frame are named and missing; the others are exact."""
    point = filled.backup()
    content = {path.name: path.read_bytes() for path in filled.source.iterdir()}
    path, frame, blobs = next(found for found in frames_of_content(filled) if len(found[2]) > 5)
    flip(path, frame.offset + frame.length // 2)
    blob_id = filled.repository.blob_id
    ids = {blob.id for blob in blobs}
    hit = {name for name, data in content.items() if blob_id(data) in ids}
    assert hit
    outcome = filled.restore(point)
    restored = {path.name: path.read_bytes() for path in filled.restored.iterdir()}
    named = {os.fsdecode(problem.path.rpartition(b"/")[2]) for problem in outcome.problems}
    partial = {name for name in restored if name.endswith(".damaged-partial")}
    assert named == hit | {name.removesuffix(".damaged-partial") for name in partial}
    assert {name: restored[name] for name in restored.keys() - partial} == {
        name: data for name, data in content.items() if name not in named
    }


def test_what_is_left_of_a_large_file_is_kept_under_another_name(filled):
    """Lost pieces are holes in NAME.damaged-partial; NAME itself is not there."""
    point = filled.backup()
    content = (filled.source / "large").read_bytes()
    large = [found for found in frames_of_content(filled) if found[2][0].length > 200_000]
    path, frame, blobs = large[1]
    flip(path, frame.offset)
    outcome = filled.restore(point)
    assert "large" in {os.fsdecode(problem.path.rpartition(b"/")[2]) for problem in outcome.problems}
    assert not (filled.restored / "large").exists()
    left = (filled.restored / "large.damaged-partial").read_bytes()
    wrong = [at for at in range(0, len(content), 1000) if left[at : at + 1000] != content[at : at + 1000]]
    assert 0 < len(wrong) * 1000 <= sum(blob.length for blob in blobs) + 2000
    assert all(not any(left[at + 1000 : at + 1001]) for at in wrong[:-1])


def test_a_missing_pack_costs_its_files_only(filled):
    """What lies in other packs restores, the metadata of what is lost is named."""
    filled.backup()
    (filled.source / "later").write_bytes(random.Random(4).randbytes(50_000))
    known = set(filled.repository.load_index().packs())
    point = filled.backup()
    new = set(filled.repository.load_index().packs()) - known
    for path, _, _ in frames_of_content(filled):
        if path.name in {digest.hex() for digest in new}:
            path.unlink()
            break
    outcome = filled.restore(point)
    assert [problem.path for problem in outcome.problems] == [os.fsencode(filled.restored / "later")]
    assert (filled.restored / "large").read_bytes() == (filled.source / "large").read_bytes()


def test_a_pack_that_moves_while_the_restore_runs(filled, tmp_path, monkeypatch):
    """Content that is stored anew elsewhere, the old packs gone, is found by a fresh look at the index."""
    point = filled.backup()
    storage = Path(filled.repository.storage.location)
    with plan_restore(filled.repository, point, target=os.fsencode(filled.target)) as plan:
        for path in [*(storage / "packs").rglob("*"), *(storage / "index").rglob("*")]:
            if path.is_file():
                path.unlink()
        monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "other state"))
        filled.backup()
        outcome = run_restore(plan)
    assert outcome.problems == []
    assert (filled.restored / "large").read_bytes() == (filled.source / "large").read_bytes()


def test_what_changes_on_the_disk_before_verification_is_noticed(filled):
    """Verification compares what the disk holds with what was backed up."""
    point = filled.backup()

    class Spoils(Silent):
        def phase_started(self, name: str, files: int, size: int) -> None:
            if name == VERIFY:
                for victim in ("small 07", "large", "tiny"):
                    path = filled.restored / victim
                    st = path.stat()
                    data = bytearray(path.read_bytes())
                    data[-1] ^= 1
                    path.write_bytes(data)
                    os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))
                (filled.restored / "small 08").unlink()

    with plan_restore(filled.repository, point, target=os.fsencode(filled.target)) as plan:
        outcome = run_restore(plan, Spoils())
    named = {os.fsdecode(problem.path.rpartition(b"/")[2]) for problem in outcome.problems}
    assert named == {"small 07", "large", "tiny", "small 08"}
    assert outcome.verified == 62 - 4


def test_a_lost_folder_list_costs_that_folder(own_bench):
    """Where the page of a folder is damaged the folder is named, and the rest restores."""
    for name in ("old", "new"):
        (own_bench.source / name).mkdir()
        (own_bench.source / name / "file").write_bytes(name.encode() * 500)
    own_bench.backup()
    before = set(own_bench.repository.load_index().packs())
    (own_bench.source / "new" / "file").write_bytes(b"newer" * 500)
    point = own_bench.backup()
    for digest in before:
        trailer = read_trailer(
            own_bench.repository.storage, pack_name(digest), own_bench.repository.secrets.catalogue_key
        )
        for frame in {blob.frame for blob in trailer.blobs() if blob.kind == BlobKind.PAGE}:
            flip(pack_path(own_bench, digest), trailer.frames[frame].offset)
    outcome = own_bench.restore(point)
    (problem,) = outcome.problems
    assert problem.path == os.fsencode(own_bench.restored / "old")
    assert (own_bench.restored / "new" / "file").read_bytes() == b"newer" * 500
    assert list((own_bench.restored / "old").iterdir()) == []


def test_hard_links_of_a_lost_file_are_named(own_bench):
    """Every name of a file that is lost is named."""
    (own_bench.source / "one").write_bytes(random.Random(7).randbytes(20_000))
    os.link(own_bench.source / "one", own_bench.source / "two")
    point = own_bench.backup()
    for path, frame, _ in frames_of_content(own_bench):
        flip(path, frame.offset)
    outcome = own_bench.restore(point)
    assert {problem.path for problem in outcome.problems} == {
        os.fsencode(own_bench.restored / name) for name in ("one", "two")
    }
    assert list(own_bench.restored.iterdir()) == []


def test_content_without_a_place_to_read_it(own_bench):
    """A write-only credential cannot restore, and says so before anything is written."""
    (own_bench.source / "file").write_bytes(b"f" * 2000)
    point = own_bench.backup()
    secrets = replace(own_bench.repository.secrets, private_keys=())
    own_bench.repository = Repository.open_with(own_bench.repository.storage, secrets)
    with pytest.raises(KeyMissing, match="write-only"):
        own_bench.restore(point)
    assert list(own_bench.target.iterdir()) == []
