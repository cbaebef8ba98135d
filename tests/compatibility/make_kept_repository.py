"""Makes the repository that is kept for ever under repositories/: run once a format version, as root.

    python tests/compatibility/make_kept_repository.py tests/compatibility/repositories/v1

It backs up a small tree three times, takes out the first restore point and rewrites packs,
changes keys, leaves a tombstone and an interrupted session behind; and writes beside the
repository what opens it, and what must be found in it.
"""

import hashlib
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.repository.keys import add_passphrase, rotate_recovery_key
from backstay.repository.pack import BlobKind
from backstay.repository.prune import run_prune
from backstay.repository.repository import Repository
from backstay.storage.local import LocalStorage

SOURCE = Path("/srv/kept")
HOST = "files.example"
PASSPHRASES = ("open sésame", "second passphrase")
LIMIT = 100 * 1024


def make_tree(top: Path) -> None:
    """A little of everything that is told apart in the format."""
    (top / "many").mkdir(parents=True)
    for number in range(1100):
        (top / "many" / f"{number:04d}").write_bytes(b"%d" % number)
    large = b"".join(bytes([number % 251]) * 4096 + b"%d" % number for number in range(700))
    (top / "large").write_bytes(large)
    with (top / "sparse").open("wb") as sparse:
        for number in range(70):
            sparse.seek(number << 16)
            sparse.write(b"island")
        sparse.truncate(1 << 33)
    (top / "empty").touch()
    (top / "text").write_text("line\n" * 400)
    (top / "folder" / "deeper" / "empty").mkdir(parents=True)
    (top / "folder" / "deeper" / "note").write_text("a note")
    os.link(top / "text", top / "folder" / "same text")
    (top / "link").symlink_to("../nowhere")
    with open(os.fsencode(top) + b"/not \xff UTF-8\n", "wb") as odd:  # noqa: PTH123 - a name in bytes
        odd.write(b"odd")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "socket", stat.S_IFSOCK | 0o600)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (top / "text").chmod(0o4750)
    os.chown(top / "text", 1234, 5678)
    os.setxattr(top / "text", "user.colour", b"blue\0\xff")
    for folder, folders, files in os.walk(top, topdown=False):
        for name in (*folders, *files):
            at = 1_234_567_890_123_456_789 + len(name)
            os.utime(os.path.join(folder, name), ns=(at, at), follow_symlinks=False)
    os.utime(top / "empty", ns=(1, -5_000_000_001))


def describe(path: bytes) -> dict[str, Any]:
    """What must be found of one file: bytes as hexadecimal, content as SHA-256."""
    st = os.lstat(path)
    found: dict[str, Any] = {"mode": st.st_mode, "uid": st.st_uid, "gid": st.st_gid}
    found |= {"mtime_ns": st.st_mtime_ns, "nlink": st.st_nlink, "rdev": st.st_rdev}
    names = os.listxattr(path, follow_symlinks=False)
    found["xattrs"] = {
        os.fsencode(name).hex(): os.getxattr(path, name, follow_symlinks=False).hex() for name in names
    }
    if stat.S_ISLNK(st.st_mode):
        found["target"] = os.readlink(path).hex()
    if stat.S_ISREG(st.st_mode):
        found["size"] = st.st_size
        with open(path, "rb") as file:  # noqa: PTH123 - a path in bytes
            found["sha256"] = hashlib.sha256(file.read(64 << 20)).hexdigest()
    return found


def describe_tree(top: Path) -> dict[str, Any]:
    """What must be found of each path, by the path as hexadecimal; see `brief`."""
    root = os.fsencode(top)
    paths = [root]
    for folder, folders, files in os.walk(root):
        paths += [os.path.join(folder, name) for name in (*folders, *files)]
    return brief({path.hex(): describe(path) for path in sorted(paths)})


def brief(tree: dict[str, Any]) -> dict[str, Any]:
    """The description of a tree with one SHA-256 in the place of the many small files."""
    below = (os.fsencode(SOURCE / "many") + b"/").hex()
    many = {path: found for path, found in tree.items() if path.startswith(below)}
    digest = hashlib.sha256(json.dumps(many, sort_keys=True).encode()).hexdigest()
    return {path: found for path, found in tree.items() if path not in many} | {below: digest}


def main(target: Path) -> None:
    """Make the repository, `opens.json` and `holds.json` in the folder `target`, which must not exist."""
    # What is kept in public names no real machine.
    socket.gethostname = lambda: HOST
    target.mkdir(parents=True)
    make_tree(SOURCE)
    holds: dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["BACKSTAY_CACHE"] = os.environ["BACKSTAY_STATE"] = scratch
            storage = LocalStorage(target / "repository", create=True)
            repository, _ = Repository.create(storage, PASSPHRASES[0])

            def back_up() -> str:
                request = BackupRequest([os.fsencode(SOURCE)], backup_set="kept", file_server=HOST)
                point = run_backup(repository, request, Silent()).point
                holds[point.id.hex()] = describe_tree(SOURCE)
                return point.id.hex()

            first = back_up()
            for number in range(0, 1100, 2):
                (SOURCE / "many" / f"{number:04d}").unlink()
            with (SOURCE / "large").open("r+b") as large:
                large.truncate(1_500_000)
            back_up()
            secrets = add_passphrase(storage, repository.secrets, "second", PASSPHRASES[1])
            secrets, recovery_key = rotate_recovery_key(storage, secrets)
            repository = Repository.open_with(storage, secrets)
            (SOURCE / "new").write_text("new\n" * 300)
            back_up()
            run_prune(
                repository,
                lambda points: [point for point in points if point.id.hex() == first],
                most_unused=0,
            )
            del holds[first]
            interrupted = repository.begin("backup", "kept")
            interrupted.put(BlobKind.DATA, b"stored, and never committed " * 30)
            interrupted.packer.flush()
            interrupted.close()
        opens = {"passphrases": PASSPHRASES, "recovery_key": str(recovery_key), "expired": [first]}
        (target / "opens.json").write_text(json.dumps(opens, indent=1) + "\n")
        (target / "holds.json").write_text(json.dumps(holds, separators=(",", ":")) + "\n")
        shutil.rmtree(target / "repository" / ".aside", ignore_errors=True)
    finally:
        shutil.rmtree(SOURCE)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{size} bytes in {target}")
    assert size < LIMIT


if __name__ == "__main__":
    assert os.geteuid() == 0, "run this as root: it makes device nodes"
    assert not SOURCE.exists(), f"{SOURCE} is in the way"
    main(Path(sys.argv[1]))
