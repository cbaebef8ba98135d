"""What a restore will write, found before it writes anything; the dry run shows exactly this."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from backstay.domain.entry import Chunk, Entry, Grade, Totals
from backstay.domain.errors import DamagedObject
from backstay.repository.blob_source import BlobSource
from backstay.repository.manifest import RestorePoint
from backstay.repository.repository import Repository
from backstay.repository.tree import PageRow, decode_page, iterate_chunks
from backstay.restore.carry_over import ON_WINDOWS, CarryOver
from backstay.restore.chosen import WHOLE, Chosen, choose, choose_set, chosen_children, entry_at, not_there
from backstay.restore.existing import Action, Existing, decide
from backstay.restore.folders import Folders, Places
from backstay.restore.hard_links import HardLinks
from backstay.restore.outcome import RestoreProblem
from backstay.restore.pieces import Pieces
from backstay.restore.progress import PLAN, Progress, Silent
from backstay.restore.spool import FileRecord, FolderRecord, LinkRecord, Spool
from backstay.restore.target_view import TargetView
from backstay.system.calls import os

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
        notes: what cannot be carried over to this system, a sentence each.
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
    notes: list[str] = field(default_factory=list)
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
        with TargetView(plan.target, existing) as view:
            planner = _Planner(plan, view, now or datetime.now(), progress or Silent())
            planner.run(list(paths), strip=strip)
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
        taken: names in it so far, where case does not tell them apart.
    """

    number: int
    exists: bool
    entries: Iterator[tuple[Entry, Chosen]]
    taken: dict[str, bytes] | None = field(default_factory=lambda: {} if ON_WINDOWS else None)


class _Planner:
    """Walks the chosen parts of the tree once."""

    def __init__(self, plan: RestorePlan, view: TargetView, now: datetime, progress: Progress) -> None:
        self._read = plan.blobs.read
        self._plan = plan
        self._view = view
        self._now = now
        self._progress = progress
        self._names: list[bytes] = []
        self._linked = HardLinks()
        self._carry_over = CarryOver(original=plan.target == b"/", with_permissions=plan.with_permissions)
        self._seen = 0

    def run(self, paths: list[bytes], *, strip: bool) -> None:
        """Walk, then tie hard links and find the pieces."""
        started = time.monotonic()
        plan = self._plan
        self._progress.phase_started(PLAN, 0, 0)
        try:
            for level in self._tops(paths, strip=strip):
                self._walk(level)
            places = Places(plan.folders)
            for record in self._linked.tie(plan.links, self._add_content):
                where = os.path.join(plan.target, *places.components(record.folder), record.name)
                plan.problems.append(RestoreProblem(where, "the list of its pieces is lost"))
        finally:
            self._linked.close()
        plan.notes = self._carry_over.notes()
        plan.figures.links = len(plan.links)
        plan.pieces.arrange(plan.blobs.index)
        self._progress.phase_ended(PLAN, time.monotonic() - started)

    def _tops(self, paths: list[bytes], *, strip: bool) -> Iterator[_Level]:
        point = self._plan.point
        if not (strip and paths):
            chosen = choose(paths) if paths else choose_set(point, self._read)
            yield _Level(0, self._view.exists, self._entries(point.manifest.root, chosen, b""))
            return
        entries = [(path, entry_at(point, path, self._read)) for path in paths]
        for path, entry in entries:
            if entry is None:
                raise not_there(path)
            yield _Level(0, self._view.exists, iter([(entry, WHOLE)]))

    def _entries(self, page: bytes, chosen: Chosen, path: bytes) -> Iterator[tuple[Entry, Chosen]]:
        if chosen.whole:
            return ((entry, WHOLE) for entry in self._folder(page, path))
        return chosen_children(page, chosen, path, self._read)

    def _folder(self, page: bytes, path: bytes) -> Iterator[Entry]:
        """All that is in a folder; a page that is damaged costs what it lists, and no more."""
        try:
            rows = decode_page(self._read(page), page)
        except DamagedObject as error:
            where = os.path.join(self._plan.target, path.strip(b"/"))
            reason = f"a list of what is in this folder is lost: {error.what}"
            self._plan.problems.append(RestoreProblem(where, reason))
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
                self._progress.advanced(self._seen, self._plan.figures.bytes, self._path())
            action, name = self._decide(level, entry, chosen)
            if action is Action.SKIP:
                below = entry.totals or Totals()
                self._plan.figures.skipped += 1 + below.files + below.directories + below.others
            elif entry.is_directory:
                levels.append(self._add_folder(level, entry, chosen, action, name))
                self._names.append(name)
                self._enter(levels[-1])
            else:
                self._add_file(level.number, entry, action, name)

    def _enter(self, level: _Level) -> None:
        if level.exists:
            self._view.enter(self._names)

    def _decide(self, level: _Level, entry: Entry, chosen: Chosen) -> tuple[Action, bytes]:
        self._carry_over.see(entry)
        name = self._carry_over.name(entry, level.taken, is_top=not self._names)
        there = self._view.stat(name) if level.exists else None
        if there is None:
            return Action.CREATE, name
        figures = self._plan.figures
        action = decide(entry.mode, there.st_mode, self._plan.existing, above=not chosen.whole)
        if action is Action.REPLACE_FOLDER and self._view.is_filled(name):
            self._problem(name, "a folder that is not empty has its name, and was left")
            return Action.SKIP, name
        if action is Action.SKIP and entry.is_directory:
            self._problem(
                name, "a file or link has the name of this folder, and was left with nothing below it"
            )
        elif action is Action.ENTER:
            figures.entered += 1
        elif action is Action.KEEP_BOTH:
            figures.renamed += 1
            return action, self._view.free_name(name, self._now)
        elif action is not Action.SKIP:
            figures.replaced += 1
            figures.freed_bytes += there.st_blocks * 512 if there.st_nlink == 1 else 0
        return action, name

    def _add_folder(self, level: _Level, entry: Entry, chosen: Chosen, action: Action, name: bytes) -> _Level:
        plan = self._plan
        if action is not Action.ENTER:
            plan.figures.folders += 1
        finish = action is not Action.ENTER or (chosen.whole and plan.existing is Existing.OVERWRITE)
        bare = entry._replace(page=None, totals=None)
        number = plan.folders.add(FolderRecord(level.number, action, name, finish, bare))
        if entry.page is None:
            self._problem(name, "the folder could not be read when it was backed up")
            return _Level(number, False, iter(()))
        exists = level.exists and action is Action.ENTER
        path = b"/" + b"/".join((*self._names, name))
        return _Level(number, exists, self._entries(entry.page, chosen, path))

    def _add_file(self, folder: int, entry: Entry, action: Action, name: bytes) -> None:
        if entry.is_regular:
            if not entry.has_content:
                self._plan.figures.without_content += 1
                self._problem(name, "it could not be read when it was backed up")
                return
            if entry.grade >= Grade.CHANGED:
                self._warn(entry, name)
        record = FileRecord(folder, action, 0, name, entry)
        if entry.nlink > 1 and entry.device:
            self._linked.add(record)
        elif not self._add_content(record):
            self._problem(name, "the list of its pieces is lost")

    def _add_content(self, record: FileRecord) -> bool:
        """Spool a file with its pieces; False where the list of them is lost."""
        plan, entry = self._plan, record.entry
        if not entry.is_regular:
            plan.figures.others += 1
            plan.prepared.append(record)
            return True
        chunks = entry.chunks or ()
        if any(chunk.depth for chunk in chunks) and not self._is_intact(chunks):
            return False
        at, data, file = 0, len(entry.inline or b""), plan.files.end
        for chunk in iterate_chunks(chunks, self._read):
            if chunk.blob is not None:
                plan.pieces.add(chunk.blob, chunk.length, file, at)
                data += chunk.length
                record.pieces += 1
            at += chunk.length
        plan.figures.files += 1
        plan.figures.bytes += entry.size
        plan.figures.data_bytes += -(-data // _DISK_BLOCK) * _DISK_BLOCK
        (plan.files if record.pieces else plan.prepared).append(record)
        return True

    def _is_intact(self, chunks: tuple[Chunk, ...]) -> bool:
        """Whether all pages of a chunk list can be read: known before the first piece is added."""
        try:
            for _ in iterate_chunks(chunks, self._read):
                pass
        except DamagedObject:
            return False
        return True

    def _warn(self, entry: Entry, name: bytes) -> None:
        figures = self._plan.figures
        if entry.grade == Grade.CHANGED:
            figures.changed += 1
            reason = "it changed while it was backed up"
        else:
            figures.unreadable += 1
            reason = "it could not be read when it was backed up; this is the version before"
        if len(self._plan.warnings) < _TOLD:
            self._plan.warnings.append(RestoreProblem(self._path(name), reason))

    def _path(self, name: bytes = b"") -> bytes:
        return os.path.join(self._plan.target, *self._names, name)

    def _problem(self, name: bytes, reason: str) -> None:
        self._plan.problems.append(RestoreProblem(self._path(name), reason))
