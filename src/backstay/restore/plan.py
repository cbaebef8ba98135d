"""What a restore will write, found before it writes anything; the dry run shows exactly this."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from backstay.domain.entry import Entry, Grade
from backstay.domain.errors import DamagedObject, TargetError, UsageError
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.reasons import reason_of
from backstay.repository.blob_source import BlobSource
from backstay.repository.manifest import RestorePoint
from backstay.repository.repository import Repository
from backstay.repository.tree import PageRow, decode_page, find_entry, iterate_chunks
from backstay.restore.existing import Action, Existing, decide, name_beside
from backstay.restore.folders import Folders
from backstay.restore.hard_links import HardLinks
from backstay.restore.outcome import RestoreProblem
from backstay.restore.pieces import Pieces
from backstay.restore.progress import PLAN, Progress, Silent
from backstay.restore.spool import FileRecord, FolderRecord, LinkRecord, Spool

_TOLD = 1000
_PROGRESS_EVERY = 1000
_DISK_BLOCK = 4096


@dataclass
class PlanFigures:
    """What a plan will write.

    Attributes:
        files, folders, links, others: regular files, folders, further hard links, and
            symbolic links, pipes, sockets and devices that will be made.
        bytes: content of the files.
        data_bytes: the same without holes, in whole blocks: the room that it takes.
        freed_bytes: room that replaced files give back.
        entered: folders that exist already.
        replaced, skipped, renamed: entries whose name is taken, by what happens to them.
        without_content: files that could not be read when they were backed up.
        changed, unreadable: files that changed while they were backed up, and files of
            which an older version was kept because they could not be read.
    """

    files: int = 0
    folders: int = 0
    links: int = 0
    others: int = 0
    bytes: int = 0
    data_bytes: int = 0
    freed_bytes: int = 0
    entered: int = 0
    replaced: int = 0
    skipped: int = 0
    renamed: int = 0
    without_content: int = 0
    changed: int = 0
    unreadable: int = 0


@dataclass
class RestorePlan:
    """A restore, ready to be run once, or to be shown. Close it, for it keeps temporary files.

    Attributes:
        point: the restore point.
        blobs: where its content comes from.
        target: the folder to restore into.
        existing: what happens to what exists.
        with_permissions, numeric_ids: as for `plan_restore`.
        figures: what will be written.
        problems: what cannot be restored, as known before.
        warnings: files that are restored, yet not as they were at one moment; the first thousand.
        prepared: small files, links and special files; `files`: those put together from pieces.
    """

    point: RestorePoint
    blobs: BlobSource
    target: bytes
    existing: Existing
    with_permissions: bool
    numeric_ids: bool
    figures: PlanFigures = field(default_factory=PlanFigures)
    problems: list[RestoreProblem] = field(default_factory=list)
    warnings: list[RestoreProblem] = field(default_factory=list)
    folders: Folders = field(default_factory=Folders)
    prepared: Spool[FileRecord] = field(default_factory=lambda: Spool(FileRecord))
    files: Spool[FileRecord] = field(default_factory=lambda: Spool(FileRecord))
    links: Spool[LinkRecord] = field(default_factory=lambda: Spool(LinkRecord))
    pieces: Pieces = field(default_factory=Pieces)

    def close(self) -> None:
        """Remove the temporary files."""
        for part in (self.folders, self.prepared, self.files, self.links, self.pieces):
            part.close()

    def __enter__(self) -> "RestorePlan":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plan_restore(
    repository: Repository,
    point: RestorePoint,
    *,
    target: bytes,
    paths: Sequence[bytes] = (),
    existing: Existing = Existing.REFUSE,
    with_permissions: bool = True,
    numeric_ids: bool = False,
    strip: bool = False,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> RestorePlan:
    """Plan the restore of a point, or of parts of it. Writes nothing at the target.

    Args:
        target: the folder to restore into; it need not exist. `/` restores to the original place.
        paths: absolute paths in the restore point; none means all of it. A path comes to lie
            below the target with all its folders.
        existing: what happens to what exists at the target.
        with_permissions: restore owners, modes, access control lists, capabilities and flags.
        numeric_ids: restore owners by number, not by name.
        strip: put each of `paths` right into the target, without the folders above it.
        now: the time that is part of the names that KEEP_BOTH gives.

    Raises:
        UsageError: one of the paths is not in the restore point.
        TargetError: the target is no folder, cannot be read, or is not empty where it must be.
        Cancelled, StorageError, RepositoryError.
    """
    plan = RestorePlan(
        point, BlobSource(repository), os.path.abspath(target), existing, with_permissions, numeric_ids
    )
    try:
        _Planner(plan, now or datetime.now(), progress or Silent()).run(list(paths), strip)
    except BaseException:
        plan.close()
        raise
    return plan


@dataclass
class _Level:
    """A folder of the point that the planner is in.

    Attributes:
        number: the folder's in the plan.
        exists: whether it exists at the target.
        entries: what is still to be looked at, each with the parts of it that were chosen.
    """

    number: int
    exists: bool
    entries: Iterator[tuple[Entry, "_Chosen"]]


class _Chosen:
    """A part of the tree that was asked for: whole, or some of its children."""

    def __init__(self) -> None:
        self.whole = False
        self.children: dict[bytes, _Chosen] = {}

    def add(self, path: bytes) -> None:
        node = self
        for name in path.strip(b"/").split(b"/") if path.strip(b"/") else []:
            node = node.children.setdefault(name, _Chosen())
        node.whole = True


_WHOLE = _Chosen()
_WHOLE.whole = True


class _Planner:
    """Walks the chosen parts of the tree once."""

    def __init__(self, plan: RestorePlan, now: datetime, progress: Progress) -> None:
        self._blobs = plan.blobs
        self._plan = plan
        self._now = now
        self._progress = progress
        self._names: list[bytes] = []
        self._chain: DirectoryChain | None = None
        self._dir_fd = -1
        self._linked = HardLinks()
        self._seen = 0

    def run(self, paths: list[bytes], strip: bool) -> None:
        """Walk, then tie hard links and find the pieces."""
        started = time.monotonic()
        plan = self._plan
        self._progress.phase_started(PLAN, 0, 0)
        top = _open_target(plan.target, plan.existing)
        try:
            if top is not None:
                self._chain = DirectoryChain(top)
            for level in self._tops(paths, strip, exists=top is not None):
                self._walk(level)
        finally:
            if self._chain is not None:
                self._chain.close()
            if top is not None:
                os.close(top)
        self._linked.tie(plan.links, self._add_content)
        plan.figures.links = len(plan.links)
        plan.pieces.arrange(self._blobs.index)
        self._linked.close()
        self._progress.phase_ended(PLAN, time.monotonic() - started)

    def _tops(self, paths: list[bytes], strip: bool, *, exists: bool) -> Iterator[_Level]:
        root = self._plan.point.manifest.root
        chosen = _Chosen()
        for path in paths or [b"/"]:
            chosen.add(os.path.normpath(path))
        if strip and paths:
            for path in paths:
                entry = self._resolve(root, path)
                yield _Level(0, exists, iter([(entry, _WHOLE)]))
        else:
            yield _Level(0, exists, self._entries(root, chosen, b""))

    def _resolve(self, page: bytes, path: bytes) -> Entry:
        entry: Entry | None = None
        for name in os.path.normpath(path).strip(b"/").split(b"/"):
            entry = find_entry(page, name, self._blobs.read) if page else None
            if entry is None:
                raise _not_there(path)
            page = entry.page or b""
        assert entry is not None
        return entry

    def _entries(self, page: bytes, chosen: _Chosen, path: bytes) -> Iterator[tuple[Entry, _Chosen]]:
        if chosen.whole:
            yield from ((entry, _WHOLE) for entry in self._folder(page, path))
            return
        for name, part in sorted(chosen.children.items()):
            entry = find_entry(page, name, self._blobs.read)
            if entry is None:
                raise _not_there(path + b"/" + name)
            if not part.whole and not entry.is_directory:
                raise _not_there(path + b"/" + name + b"/" + next(iter(part.children)))
            yield entry, part

    def _folder(self, page: bytes, path: bytes) -> Iterator[Entry]:
        """All that is in a folder; a page that is damaged costs what it lists, and no more."""
        try:
            rows = decode_page(self._blobs.read(page), page)
        except DamagedObject as error:
            self._problem(b"", f"the list of what is in this folder is lost: {error.what}", path)
            return
        for row in rows:
            if isinstance(row, PageRow):
                yield from self._folder(row.page, path)
            else:
                yield row

    def _walk(self, top: _Level) -> None:
        levels = [top]
        self._names = []
        self._enter(top)
        while levels:
            level = levels[-1]
            item = next(level.entries, None)
            if item is None:
                levels.pop()
                if levels:
                    self._names.pop()
                    self._enter(levels[-1])
                continue
            entry, chosen = item
            self._seen += 1
            if self._seen % _PROGRESS_EVERY == 0:
                self._progress.advanced(self._seen, self._plan.figures.bytes, b"/" + b"/".join(self._names))
            action, name = self._decide(level, entry)
            if action is Action.SKIP:
                self._skip(entry, name)
            elif entry.is_directory:
                below = self._add_folder(level, entry, chosen, action, name)
                levels.append(below)
                self._names.append(name)
                self._enter(below)
            else:
                self._add_file(level.number, entry, action, name)

    def _enter(self, level: _Level) -> None:
        if level.exists and self._chain is not None:
            try:
                self._dir_fd = self._chain.open(self._names)
            except OSError as error:
                raise TargetError(
                    f"{os.fsdecode(self._path())!r} cannot be opened: {reason_of(error)}",
                    hint="restore as root, or to another place",
                ) from error

    def _decide(self, level: _Level, entry: Entry) -> tuple[Action, bytes]:
        if not level.exists:
            return Action.CREATE, entry.name
        there = self._stat(entry.name)
        action = decide(entry.mode, there.st_mode if there else None, self._plan.existing)
        if there is None:
            return action, entry.name
        if action is Action.REPLACE:
            self._plan.figures.replaced += 1
            if there.st_nlink == 1:
                self._plan.figures.freed_bytes += there.st_blocks * 512
        elif action is Action.REPLACE_FOLDER:
            if self._is_filled(entry.name):
                self._problem(entry.name, "a folder that is not empty has its name, and was left")
                return Action.SKIP, entry.name
            self._plan.figures.replaced += 1
        elif action is Action.KEEP_BOTH:
            self._plan.figures.renamed += 1
            return action, self._free_name(entry.name)
        elif action is Action.ENTER:
            self._plan.figures.entered += 1
        elif entry.is_directory:
            self._problem(
                entry.name, "something that is no folder has its name, and was left with nothing below it"
            )
        return action, entry.name

    def _stat(self, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TargetError(
                f"{os.fsdecode(self._path(name))!r} cannot be examined: {reason_of(error)}",
                hint="restore as root, or to another place",
            ) from error

    def _is_filled(self, name: bytes) -> bool:
        assert self._chain is not None
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._dir_fd)
        try:
            with os.scandir(fd) as found:
                return next(found, None) is not None
        finally:
            os.close(fd)

    def _free_name(self, name: bytes) -> bytes:
        attempt = 1
        while self._stat(beside := name_beside(name, self._now, attempt)) is not None:
            attempt += 1
        return beside

    def _skip(self, entry: Entry, name: bytes) -> None:
        below = entry.totals
        self._plan.figures.skipped += 1 + (below.files + below.directories + below.others if below else 0)

    def _add_folder(
        self, level: _Level, entry: Entry, chosen: _Chosen, action: Action, name: bytes
    ) -> _Level:
        plan = self._plan
        if action is not Action.ENTER:
            plan.figures.folders += 1
        finish = action is not Action.ENTER or (chosen.whole and plan.existing is Existing.OVERWRITE)
        bare = entry._replace(page=None, totals=None)
        number = plan.folders.add(FolderRecord(level.number, action, name, finish, bare))
        path = b"/" + b"/".join((*self._names, name))
        if entry.page is None:
            self._problem(name, "the folder could not be read when it was backed up")
            return _Level(number, False, iter(()))
        exists = level.exists and action is Action.ENTER
        return _Level(number, exists, self._entries(entry.page, chosen, path))

    def _add_file(self, folder: int, entry: Entry, action: Action, name: bytes) -> None:
        figures = self._plan.figures
        if entry.is_regular:
            if not entry.has_content:
                figures.without_content += 1
                self._problem(name, "it could not be read when it was backed up")
                return
            if entry.grade >= Grade.CHANGED:
                self._warn(entry, name)
        record = FileRecord(folder, action, 0, name, entry)
        if entry.nlink > 1 and entry.device:
            self._linked.add(record)
        else:
            self._add_content(record)

    def _add_content(self, record: FileRecord) -> int:
        """Spool a file with its pieces; returns the offset of its record, or -1 where its list is lost."""
        plan, entry = self._plan, record.entry
        if not entry.is_regular:
            plan.figures.others += 1
            return plan.prepared.append(record)
        if not entry.chunks:
            self._count(entry, len(entry.inline or b""))
            return plan.prepared.append(record)
        at = data = count = 0
        file = plan.files.end
        try:
            chunks = entry.chunks
            if any(chunk.depth for chunk in chunks):
                # A list that breaks off must be known before its first piece is added.
                for _ in iterate_chunks(chunks, self._blobs.read):
                    pass
            for chunk in iterate_chunks(chunks, self._blobs.read):
                if chunk.blob is not None:
                    plan.pieces.add(chunk.blob, chunk.length, file, at)
                    data += chunk.length
                    count += 1
                at += chunk.length
        except DamagedObject as error:
            self._problem(record.name, f"the list of its pieces is lost: {error.what}")
            return -1
        self._count(entry, data)
        if not count:
            return plan.prepared.append(record)
        record.pieces = count
        return plan.files.append(record)

    def _count(self, entry: Entry, data: int) -> None:
        figures = self._plan.figures
        figures.files += 1
        figures.bytes += entry.size
        figures.data_bytes += -(-data // _DISK_BLOCK) * _DISK_BLOCK

    def _warn(self, entry: Entry, name: bytes) -> None:
        figures = self._plan.figures
        if entry.grade == Grade.CHANGED:
            figures.changed += 1
            reason = "it changed while it was backed up"
        else:
            figures.unreadable += 1
            reason = "it could not be read when it was backed up; this is the version before"
        if entry.has_content and len(self._plan.warnings) < _TOLD:
            self._plan.warnings.append(RestoreProblem(self._path(name), reason))

    def _path(self, name: bytes = b"") -> bytes:
        return os.path.join(self._plan.target, *self._names, name)

    def _problem(self, name: bytes, reason: str, path: bytes | None = None) -> None:
        where = self._path(name) if path is None else os.path.join(self._plan.target, path.strip(b"/"))
        self._plan.problems.append(RestoreProblem(where, reason))


def _not_there(path: bytes) -> UsageError:
    return UsageError(
        f"{os.fsdecode(path)!r} is not in this restore point",
        hint="`backstay repo files` shows what is in it",
    )


def _open_target(target: bytes, existing: Existing) -> int | None:
    """The open target, or None where there is nothing yet. Raises TargetError."""
    shown = os.fsdecode(target)
    try:
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise TargetError(f"{shown!r} is not a folder", hint="restore into a folder") from None
    except OSError as error:
        raise TargetError(
            f"{shown!r} cannot be opened: {reason_of(error)}",
            hint="check the path and your rights there",
        ) from error
    if existing is Existing.REFUSE:
        with os.scandir(fd) as found:
            filled = next(found, None) is not None
        if filled:
            os.close(fd)
            raise TargetError(
                f"{shown!r} is not empty",
                hint="restore into an empty folder, or say what happens to what exists: "
                "overwrite, skip or keep both",
            )
    return fd
