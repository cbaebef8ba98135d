"""Step 5: read what the scan found changed, store it, and build the pages of the tree bottom-up."""

import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from backstay.backup.file_content import Content, ContentReader, ContentSink, OtherKind
from backstay.backup.progress import Progress
from backstay.backup.scan import ScanResult, Unchanged, encode_stats, folder_digest, segment_digest
from backstay.backup.scan_state import Known, ScanState
from backstay.backup.source import SourceRoot, parent_of
from backstay.backup.spool import Item, Segment
from backstay.domain.entry import Entry, FileStat, Grade, Totals
from backstay.filesystem.extras import Extras, stat_of
from backstay.filesystem.metadata import ExtrasReader, Owners
from backstay.filesystem.opening import DirectoryChain, open_directory
from backstay.filesystem.reader import open_regular
from backstay.filesystem.reasons import BECAME_ANOTHER_KIND, is_gone, is_vanished, reason_of
from backstay.repository.details import Problem
from backstay.repository.tree import PageRow, put_entries, put_folder, totals_of
from backstay.system.calls import os

_LINKS_REMEMBERED = 65_536
_NEVER = -1
"""A ctime that no file has: an entry remembered with it is read again."""


@dataclass
class Transmitted:
    """How far it got: files of the estimate, their bytes, bytes read in all, files gone, problems."""

    files: int = 0
    bytes: int = 0
    read_bytes: int = 0
    gone: int = 0
    problems: list[Problem] = field(default_factory=list)


class Transmit:
    """Turns a spool into the root page of a restore point.

    Args:
        sink: stores blobs.
        racy_from_ns: a file modified at this time or later may have changed again
            unnoticed; it is read again next time.
        tick: called once a folder: renews leases, makes checkpoints.
        devices: st_dev of recovery points → of the live volumes, which ties hard links in every backup.
    """

    def __init__(
        self,
        roots: list[SourceRoot],
        *,
        sink: ContentSink,
        id_key: bytes,
        state: ScanState,
        racy_from_ns: int,
        progress: Progress,
        tick: Callable[[], None],
        devices: Mapping[int, int] | None = None,
    ) -> None:
        self._roots = roots
        self._put = sink.put
        self._content = ContentReader(sink, id_key, self._pulse)
        self._state = state
        self._racy_from_ns = racy_from_ns
        self._progress = progress
        self._tick = tick
        self._extras = ExtrasReader()
        self._owners = Owners()
        self._links: OrderedDict[tuple[int, int], Content] = OrderedDict()
        self._unlisted: set[bytes] = set()
        self._chain: DirectoryChain | None = None
        self._chain_root = -1
        self._grade = Grade.STABLE
        self._reading = b""
        self._devices = devices or {}
        self.done = Transmitted()

    def run(self, scan: ScanResult) -> Unchanged:
        """Page and totals of the whole tree.

        Raises:
            StorageError, Cancelled.
        """
        if scan.top is not None:
            return scan.top
        results: dict[bytes, Unchanged] = {}
        rows: dict[bytes, list[tuple[bytes, PageRow]]] = {}
        try:
            for segment in scan.spool:
                parts = rows.setdefault(segment.path, [])
                parts.append((segment.first, self._segment(segment, results)))
                if segment.ends:
                    results[segment.path] = self._folder(segment.path, rows.pop(segment.path))
                self._tick()
        finally:
            self._close_chain()
        return results[b""]

    def _folder(self, path: bytes, parts: list[tuple[bytes, PageRow]]) -> Unchanged:
        pages = [row for _, row in parts]
        totals = Totals()
        for row in pages:
            totals = totals.plus(row.totals)
        page = put_folder(pages, self._put)
        self._state.drop_segments(path, {first for first, _ in parts})
        if len(pages) > 1:
            digest = folder_digest([row.page for row in pages])
            self._state.put_folder(path, Known(digest, page, totals))
        return page, totals

    def _segment(self, segment: Segment, results: dict[bytes, Unchanged]) -> PageRow:
        if segment.reused is not None:
            page, totals = segment.reused
            return PageRow(segment.first, page, totals)
        self._grade = self._roots[segment.root].grade_at(segment.path) if segment.root >= 0 else Grade.STABLE
        try:
            dir_fd = self._open(segment) if segment.items or segment.new else -1
        except OSError as error:
            # The folder went away after the scan: its entries get the same reason, one by one.
            dir_fd, gone = -1, reason_of(error)
        else:
            gone = segment.unlisted
        if segment.unlisted:
            self._unlisted.add(segment.path)
        for name in segment.gone:
            self._state.forget_below(segment.path + b"/" + name if segment.path else name)
        entries: list[Entry] = []
        remembered: list[Entry] = []
        clean = not segment.unlisted
        seen: list[FileStat] = []
        child_pages: list[bytes] = []
        for item in segment.all_items():
            entry = self._entry(segment, item, dir_fd, gone, results)
            if entry is None:
                clean = False
                continue
            entries.append(entry)
            seen.append(item.stat)
            if entry.page is not None and not item.is_mount_point:
                child_pages.append(entry.page)
            doubtful = entry.grade >= Grade.CHANGED or self._is_racy(entry)
            remembered.append(entry._replace(ctime_ns=_NEVER) if doubtful else entry)
            clean = clean and not doubtful
        page = put_entries(entries, self._put)
        totals = totals_of(entries)
        digest = segment_digest(encode_stats(seen), child_pages) if clean else b""
        self._state.put_segment(segment.path, segment.first, Known(digest, page, totals), remembered)
        return PageRow(segment.first, page, totals)

    def _is_racy(self, entry: Entry) -> bool:
        """Whether another change may have left, or yet leave, the times that the entry bears.

        A modification time in the future was set by someone; a change would set it to now.
        """
        return entry.ctime_ns >= self._racy_from_ns or self._racy_from_ns <= entry.mtime_ns <= time.time_ns()

    def _entry(
        self, segment: Segment, item: Item, dir_fd: int, gone: str, results: dict[bytes, Unchanged]
    ) -> Entry | None:
        seen = item.stat
        path = segment.path + b"/" + seen.name if segment.path else seen.name
        kind = stat.S_IFMT(seen.mode)
        if kind == stat.S_IFDIR:
            return self._directory(segment, item, path, dir_fd, results)
        if item.previous is not None and stat.S_ISDIR(item.previous.mode):
            self._state.forget_below(path)
        if item.unchanged and item.previous is not None:
            return item.previous
        if gone:
            return self._unreadable(item, path, gone)
        try:
            if segment.root < 0:
                return self._root_entry(item, path, kind)
            if kind == stat.S_IFREG:
                return self._file(item, path, dir_fd)
            return self._special(item, path, dir_fd)
        except OSError as error:
            return self._unreadable(item, path, reason_of(error))
        except OtherKind:
            return self._unreadable(item, path, BECAME_ANOTHER_KIND)

    def _root_entry(self, item: Item, path: bytes, kind: int) -> Entry:
        """A source root that is no folder."""
        source = next(root for root in self._roots if root.path == path)
        self._grade = source.grade
        dir_fd = os.open(parent_of(source.actual), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return (
                self._file(item, path, dir_fd) if kind == stat.S_IFREG else self._special(item, path, dir_fd)
            )
        finally:
            os.close(dir_fd)

    def _file(self, item: Item, path: bytes, dir_fd: int) -> Entry:
        seen = item.stat
        self._reading = path
        fd = open_regular(dir_fd, seen.name)
        try:
            content = self._linked(seen, fd) or self._content.read(fd, seen)
            st = content.stat
            if seen.nlink > 1:
                self._remember_link(content)
            extras = self._extras.of_open(fd, st)
        finally:
            os.close(fd)
        done = self.done
        done.files += 1
        done.bytes += seen.size
        done.read_bytes += content.read_bytes
        self._progress.transmitting(done.files, done.bytes, path)
        grade = self._grade
        if content.changed:
            grade = Grade.CHANGED
            self._problem(path, "changed while it was read", grade)
        if extras.problem:
            self._problem(path, extras.problem, grade)
        user, group = self._owners.names(st.st_uid, st.st_gid)
        return Entry(
            seen.name,
            st.st_mode,
            st.st_uid,
            st.st_gid,
            content.size,
            st.st_mtime_ns,
            st.st_ctime_ns,
            st.st_ino,
            st.st_nlink,
            int(grade),
            content.inline,
            content.chunks,
            None,
            self._device_of(st),
            extras.xattrs,
            extras.flags,
            0,
            None,
            user,
            group,
        )

    def _pulse(self, read_bytes: int) -> None:
        """So much of a large file has been read: it may take hours, so the world goes on meanwhile."""
        self._progress.transmitting(self.done.files, self.done.bytes + read_bytes, self._reading)
        self._tick()

    def _linked(self, seen: FileStat, fd: int) -> Content | None:
        """What was read of the same inode under another name, if it is still the same version."""
        if seen.nlink < 2:
            return None
        st = os.fstat(fd)
        known = self._links.get((st.st_dev, st.st_ino))
        if known is None or known.changed or known.stat.st_ctime_ns != st.st_ctime_ns:
            return None
        return known._replace(stat=st, read_bytes=0)

    def _remember_link(self, content: Content) -> None:
        self._links[content.stat.st_dev, content.stat.st_ino] = content
        if len(self._links) > _LINKS_REMEMBERED:
            self._links.popitem(last=False)

    def _special(self, item: Item, path: bytes, dir_fd: int) -> Entry:
        """A symbolic link, fifo, socket or device."""
        name = item.stat.name
        st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
            raise OtherKind
        target = os.readlink(name, dir_fd=dir_fd) if stat.S_ISLNK(st.st_mode) else None
        extras = self._extras.of_named(dir_fd, name, st)
        if extras.problem:
            self._problem(path, extras.problem, self._grade)
        return self._plain_entry(stat_of(name, st), extras, inline=target, device=self._device_of(st))

    def _directory(
        self, segment: Segment, item: Item, path: bytes, dir_fd: int, results: dict[bytes, Unchanged]
    ) -> Entry | None:
        seen, previous = item.stat, item.previous
        below = results.pop(path, None)
        if below is None and item.page is not None:
            below = (item.page, item.totals or Totals())
        if below is None:
            below = self._put_empty(), Totals()
        extras = Extras()
        if item.unchanged and previous is not None:
            extras = Extras(previous.xattrs, previous.flags, 0)
        elif not item.is_mount_point:
            try:
                fd = self._open_child(segment, path, dir_fd, seen.name)
                try:
                    extras = self._extras.of_open(fd, os.fstat(fd))
                finally:
                    os.close(fd)
            except OSError as error:
                if path not in self._unlisted:
                    # Its content has been dealt with; only what no listing shows is missing.
                    self._problem(path, f"attributes could not be read: {reason_of(error)}", self._grade)
        if extras.problem:
            self._problem(path, extras.problem, self._grade)
        return self._plain_entry(seen, extras, page=below[0], totals=below[1])

    def _put_empty(self) -> bytes:
        return put_entries([], self._put)

    def _plain_entry(
        self,
        seen: FileStat,
        extras: Extras,
        *,
        inline: bytes | None = None,
        page: bytes | None = None,
        totals: Totals | None = None,
        device: int = 0,
    ) -> Entry:
        user, group = self._owners.names(seen.uid, seen.gid)
        return Entry(
            seen.name,
            seen.mode,
            seen.uid,
            seen.gid,
            seen.size,
            seen.mtime_ns,
            seen.ctime_ns,
            seen.inode,
            seen.nlink,
            int(self._grade),
            inline,
            None,
            page,
            device,
            extras.xattrs,
            extras.flags,
            extras.rdev,
            totals,
            user,
            group,
        )

    def _unreadable(self, item: Item, path: bytes, reason: str) -> Entry | None:
        """The previous version of a file that cannot be read, or one without content; None if it vanished."""
        previous = item.previous
        self._problem(path, reason, Grade.UNREADABLE)
        self.done.gone += is_gone(reason)
        if is_vanished(reason):
            return None
        if previous is not None and not previous.is_directory and previous.has_content:
            return previous._replace(grade=int(Grade.UNREADABLE), name=item.stat.name)
        return self._plain_entry(item.stat, Extras())._replace(grade=int(Grade.UNREADABLE))

    def _problem(self, path: bytes, reason: str, grade: int) -> None:
        self.done.problems.append(Problem(b"/" + path, reason, int(grade)))

    def _device_of(self, st: os.stat_result) -> int:
        return self._devices.get(st.st_dev, st.st_dev) if st.st_nlink > 1 else 0

    def _open(self, segment: Segment) -> int:
        """The segment's folder, open; it belongs to the chain."""
        if segment.root != self._chain_root or self._chain is None:
            self._close_chain()
            actual = self._roots[segment.root].actual if segment.root >= 0 else b"/"
            root_fd = os.open(actual, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._chain, self._chain_root, self._root_fd = DirectoryChain(root_fd), segment.root, root_fd
        if segment.root < 0:
            return self._open_above(segment.path)
        return self._chain.open(segment.components)

    def _open_above(self, path: bytes) -> int:
        """A folder above the source roots; these may be reached through symbolic links."""
        os.close(self._root_fd)
        self._root_fd = os.open(b"/" + path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._root_fd

    def _open_child(self, segment: Segment, path: bytes, dir_fd: int, name: bytes) -> int:
        if segment.root < 0:
            for root in self._roots:
                if root.path == path:
                    return os.open(root.actual, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return os.open(b"/" + path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return open_directory(dir_fd, name)

    def _close_chain(self) -> None:
        if self._chain is not None:
            self._chain.close()
            os.close(self._root_fd)
            self._chain = None
