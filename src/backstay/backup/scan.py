"""Step 3 and 5: compare what the disk shows with what was stored, and spool what is not the same.

For each run of a folder's entries (a segment) the scan state keeps a digest of their
stats and of the pages of the folders among them. Where it is equal, the segment's page
stands, and none of its entries is looked at again.
"""

import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
from blake3 import blake3

from backstay.backup.listing import Listing, Run
from backstay.backup.progress import Progress
from backstay.backup.scan_state import Known, ScanState
from backstay.backup.spool import Item, Segment, Spool
from backstay.domain.entry import Entry, FileStat, Grade, Totals
from backstay.filesystem.reasons import is_gone
from backstay.repository.details import Problem

_TYPE = 0o170000
_FOLDER = stat.S_IFDIR
_FILE = stat.S_IFREG

Unchanged = tuple[bytes, Totals]
"""Page and totals of a folder that is as it was last stored."""


class Unanchored(Exception):
    """The scan state remembers a page that its base does not lead to, and that may have been collected."""


@dataclass
class Found:
    """What the scan counted: everything in the set, and what has to be read."""

    files: int = 0
    bytes: int = 0
    folders: int = 0
    changed_files: int = 0
    changed_bytes: int = 0
    excluded: int = 0


@dataclass
class ScanResult:
    """The spool, and what is known already.

    Attributes:
        top: page and totals of the whole tree where nothing changed at all.
        started_ns: a file modified at this time or later may yet change without its times telling.
        unsettled: folders in which entries came or went while the scan went on, or that went themselves.
    """

    spool: Spool
    found: Found
    top: Unchanged | None
    started_ns: int
    problems: list[Problem]
    not_crossed: list[bytes] = field(default_factory=list)
    unsettled: int = 0


encode_stats = msgspec.msgpack.Encoder().encode
_decode_stats = msgspec.msgpack.Decoder(list[FileStat]).decode


def segment_digest(stats: bytes, child_pages: list[bytes]) -> bytes:
    """What must be equal for a segment's page to stand: the encoded stats, and the pages of its folders."""
    hasher = blake3(stats)
    if child_pages:
        hasher.update(b"".join(child_pages))
    return hasher.digest(16)


def folder_digest(pages: list[bytes]) -> bytes:
    """The same for a folder of several segments: it depends on their pages alone."""
    return blake3(b"".join(pages)).digest(16)


class Scan:
    """Compares a listing with the scan state.

    Args:
        state: what is known from the last backup.
        trusted: whether the page of the whole tree in `state` is known to be in the repository with
            all below it. A page that it does not lead to, and that was not stored in this epoch, may
            have been collected.
        is_stored: whether a blob is in the repository; asked entry by entry where not trusted.
        started_ns: before anything was looked at.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        state: ScanState,
        trusted: bool,
        is_stored: Callable[[bytes], bool],
        progress: Progress,
        started_ns: int,
    ) -> None:
        self._next = listing.next
        self._state = state
        self._epoch = state.facts.epoch
        self._trusted = trusted
        self._is_stored = is_stored
        self._progress = progress
        self._started_ns = started_ns
        self._is_first = state.is_empty()
        self._spool = Spool()
        self._found = Found()
        self._problems: list[Problem] = []
        self._not_crossed: list[bytes] = []
        self._unsettled = 0

    def run(self) -> ScanResult:
        """Scan everything.

        Raises:
            Unanchored: `state` cannot be trusted after all.
            ListingLost, Cancelled, StorageError.
        """
        # One level of folders is one call, and Python's calls do not use the C stack.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 200_000))
        try:
            top = self._visit((), b"", -1)
        except BaseException:
            self._spool.close()
            raise
        return ScanResult(
            self._spool,
            self._found,
            top,
            self._started_ns,
            self._problems,
            self._not_crossed,
            self._unsettled,
        )

    def _visit(self, components: tuple[bytes, ...], name: bytes, above: int) -> Unchanged | None:
        """A folder and everything below it; None where anything changed, which is then in the spool.

        Args:
            components: of the folder that it is in.
            above: the number of the source root of that folder.
        """
        run = self._next()
        # The components of a path count from its source root on.
        components = (*components, name) if above >= 0 else ()
        found = self._found
        self._progress.scanning(found.files, found.bytes, run.path)
        found.folders += run.root >= 0
        if run.reason:
            return self._unlisted(components, run)
        if run.is_last:
            return self._visit_short(components, run)
        return self._visit_long(components, run)

    def _visit_short(self, components: tuple[bytes, ...], run: Run) -> Unchanged | None:
        """The rest of `_visit` for a folder whose entries are one segment, as those of nearly all are."""
        # Asked before the folders below, as the state looks ahead in the order of paths.
        known = self._usable(self._state.segment(run.path, b""))
        results = self._visit_children(components, run)
        if known is not None and _still_is(known, run, results):
            return known.page, known.totals
        if self._is_first and not run.not_crossed and not any(results.values()):
            self._spool.add(self._new_segment(components, run))
            return None
        previous = _Previous(self._state.entries(run.path))
        segment = self._changed_segment(components, run, results, previous)
        segment.ends = True
        self._spool.add(segment)
        return None

    def _visit_long(self, components: tuple[bytes, ...], run: Run) -> Unchanged | None:
        """The rest of `_visit` for a folder of several segments."""
        path = run.path
        previous = _Previous(self._state.entries(path))
        unchanged: list[Segment] = []
        spooled = False
        while True:
            results = self._visit_children(components, run)
            segment = self._segment(components, run, results, previous)
            segment.ends = run.is_last
            unchanged.append(segment)
            if spooled or segment.reused is None:
                # From the first changed segment on, the folder's page has to be made anew of all of them.
                spooled = True
                for waiting in unchanged:
                    self._check_segment(waiting)
                    self._spool.add(waiting)
                unchanged.clear()
            if run.is_last:
                return None if spooled else self._settle(path, unchanged)
            run = self._next()

    def _settle(self, path: bytes, segments: list[Segment]) -> Unchanged | None:
        """What a folder is whose segments are given: known, where all of them are; else they are spooled."""
        pages = [segment.reused for segment in segments if segment.reused is not None]
        if len(pages) == len(segments):
            if len(pages) == 1:
                return pages[0]
            known = self._usable(self._state.folder(path))
            if known is not None and known.digest == folder_digest([page for page, _ in pages]):
                return known.page, known.totals
        for segment in segments:
            self._check_segment(segment)
            self._spool.add(segment)
        return None

    def _check_segment(self, segment: Segment) -> None:
        """Raise Unanchored where a page to be taken over is not one that its folder was stored with."""
        path = segment.path
        if segment.reused is None or segment.unlisted:
            return
        known = self._state.segment(path, segment.first)
        if known is None or known.epoch == self._epoch:
            return
        folder = self._state.folder(path)
        pages = self._state.segment_pages(path)
        if len(pages) > 1 and (folder is None or folder.digest != folder_digest(pages)):
            raise Unanchored

    def _check_child(self, path: bytes, previous: Entry | None, result: Unchanged | None) -> None:
        """Raise Unanchored where what is remembered of a folder is not what its parent's page named."""
        if previous is not None and result is not None and previous.page == result[0]:
            return
        known = self._state.whole(path)
        if known is None or known.epoch == self._epoch:
            return
        if previous is None or result is not None or previous.page != known.page:
            raise Unanchored

    def _visit_children(self, components: tuple[bytes, ...], run: Run) -> dict[bytes, Unchanged | None]:
        found = self._found
        found.files += run.files
        found.bytes += run.size
        found.excluded += run.excluded
        self._unsettled += run.unsettled
        if run.problems:
            self._problems += [Problem(path, reason, int(Grade.UNREADABLE)) for path, reason in run.problems]
        if run.not_crossed:
            self._not_crossed += [
                b"/" + (run.path + b"/" + name if run.path else name) for name in run.not_crossed
            ]
        return {name: self._visit(components, name, run.root) for name in run.folders}

    def _unlisted(self, components: tuple[bytes, ...], run: Run) -> Unchanged | None:
        """A folder that cannot be listed keeps what it held at the last backup, and is named as a problem."""
        known = self._usable(self._state.whole(run.path))
        reused = (known.page, known.totals) if known is not None else None
        self._problems.append(Problem(b"/" + run.path, run.reason, int(Grade.UNREADABLE)))
        self._unsettled += is_gone(run.reason)
        self._spool.add(Segment(run.root, components, run.path, b"", [], True, run.reason, reused))
        return None

    def _segment(
        self,
        components: tuple[bytes, ...],
        run: Run,
        results: dict[bytes, Unchanged | None],
        previous: "_Previous",
    ) -> Segment:
        """A run of entries compared with what is known: reused as it is, or with all its items."""
        known = self._usable(self._state.segment(run.path, run.first))
        if known is not None and _still_is(known, run, results):
            reused = (known.page, known.totals)
            return Segment(run.root, components, run.path, run.first, [], False, reused=reused)
        return self._changed_segment(components, run, results, previous)

    def _new_segment(self, components: tuple[bytes, ...], run: Run) -> Segment:
        """A folder's only segment, in the first backup of a set."""
        self._found.changed_files += run.files
        self._found.changed_bytes += run.size
        return Segment(run.root, components, run.path, b"", [], True, new=run.stats)

    def _changed_segment(
        self,
        components: tuple[bytes, ...],
        run: Run,
        results: dict[bytes, Unchanged | None],
        previous: "_Previous",
    ) -> Segment:
        """A run of entries with all its items."""
        stats = _decode_stats(run.stats)
        if run.first and stats:
            previous.skip_to(stats[0].name)
        not_crossed = set(run.not_crossed)
        items = [
            self._item(
                run.path, seen, previous.get(seen.name), results.get(seen.name), seen.name in not_crossed
            )
            for seen in stats
        ]
        if not run.first and run.is_last:
            previous.skip_to(None, gone=True)
        gone, previous.gone = previous.gone, []
        return Segment(run.root, components, run.path, run.first, items, False, gone=gone)

    def _usable(self, known: Known | None) -> Known | None:
        """What is known, where it may be believed."""
        return known if known is not None and (self._trusted or known.epoch == self._epoch) else None

    def _item(
        self, path: bytes, seen: FileStat, previous: Entry | None, result: Unchanged | None, is_mounted: bool
    ) -> Item:
        unchanged = previous is not None and self._stands(previous, seen)
        kind = seen.mode & _TYPE
        if kind == _FILE and not unchanged:
            self._found.changed_files += 1
            self._found.changed_bytes += seen.size
        item = Item(seen, previous, unchanged)
        if previous is not None and not (unchanged or self._is_kept(previous)):
            # Should the file turn out to be unreadable, this version of it is not there to stand in.
            item.previous = previous._replace(chunks=None)
        if kind == _FOLDER:
            if self._trusted:
                self._check_child(path + b"/" + seen.name if path else seen.name, previous, result)
            item.is_mount_point = is_mounted
            if result is not None:
                item.page, item.totals = result
        return item

    def _stands(self, previous: Entry, seen: FileStat) -> bool:
        """Whether the entry as last stored is what is there now, and its content is in the repository."""
        if (
            previous.ctime_ns != seen.ctime_ns
            or previous.mtime_ns != seen.mtime_ns
            or previous.inode != seen.inode
            or previous.size != seen.size
            or previous.mode != seen.mode
            or previous.uid != seen.uid
            or previous.gid != seen.gid
            or previous.nlink != seen.nlink
        ):
            return False
        return self._is_kept(previous)

    def _is_kept(self, previous: Entry) -> bool:
        """Whether the content of an entry as last stored is in the repository."""
        if self._trusted or not previous.chunks:
            return True
        return all(
            chunk.blob is None or (chunk.depth == 0 and self._is_stored(chunk.blob))
            for chunk in previous.chunks
        )


class _Previous:
    """Looks names up in the sorted entries of the last backup; names must be asked for in order.

    Attributes:
        gone: names of folders that were passed over, as nobody asked for them.
    """

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._current: Entry | None = None
        self._started = False
        self.gone: list[bytes] = []

    def get(self, name: bytes) -> Entry | None:
        """The entry of this name, or None."""
        self.skip_to(name, gone=True)
        current = self._current
        if current is None or current.name != name:
            return None
        self._current = next(self._entries, None)
        return current

    def skip_to(self, name: bytes | None, *, gone: bool = False) -> None:
        """Pass over all names before this one, or over all where None is given."""
        if not self._started:
            self._started = True
            self._current = next(self._entries, None)
        while self._current is not None and (name is None or self._current.name < name):
            if gone and self._current.is_directory:
                self.gone.append(self._current.name)
            self._current = next(self._entries, None)


def _still_is(known: Known, run: Run, results: dict[bytes, Unchanged | None]) -> bool:
    """Whether a run of entries and all below them are as they were when they became the known page."""
    child_pages: list[bytes] = []
    for result in results.values():
        if result is None:
            return False
        child_pages.append(result[0])
    return known.digest == segment_digest(run.stats, child_pages)
