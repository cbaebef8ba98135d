"""Step 3 and 5: look at every entry, and spool those parts of the tree that are not as they were last stored.

For each run of a folder's entries (a segment) the scan state keeps a digest of their
stats and of the pages of the folders among them. Where it is equal, the segment's page
stands, and none of its entries is looked at again.
"""

import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import msgspec
from blake3 import blake3

from backstay.backup.progress import Progress
from backstay.backup.scan_state import Known, ScanState
from backstay.backup.source import RootNode, SourceRoot, is_folder, tree_of_roots
from backstay.backup.spool import Item, Segment, Spool
from backstay.domain.content_rule import ContentRule
from backstay.domain.entry import Entry, FileStat, Grade, Totals
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.reasons import reason_of
from backstay.filesystem.walker import Listed, list_directory, list_names, look_at
from backstay.repository.details import Problem
from backstay.repository.tree import MOST_ENTRIES, ends_segment
from backstay.system.calls import os

_SPLIT_FROM = 1024
_TYPE = 0o170000
_FOLDER = stat.S_IFDIR
_FILE = stat.S_IFREG
_TAG_NAME = b"CACHEDIR.TAG"
_TAG_START = b"Signature: 8a477f597d28d172789f06886806bc55"

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
    """

    spool: Spool
    found: Found
    top: Unchanged | None
    started_ns: int
    problems: list[Problem]
    not_crossed: list[bytes] = field(default_factory=list)


_encode = msgspec.msgpack.Encoder().encode


def segment_digest(stats: list[Listed] | list[FileStat], child_pages: list[bytes]) -> bytes:
    """What must be equal for a segment's page to stand: the stats, and the pages of its folders."""
    hasher = blake3(_encode(stats))
    if child_pages:
        hasher.update(b"".join(child_pages))
    return hasher.digest(16)


def folder_digest(pages: list[bytes]) -> bytes:
    """The same for a folder of several segments: it depends on their pages alone."""
    return blake3(b"".join(pages)).digest(16)


class Scan:
    """Scans the source roots.

    Args:
        state: what is known from the last backup.
        trusted: whether the page of the whole tree in `state` is known to be in the repository with
            all below it. A page that it does not lead to, and that was not stored in this epoch, may
            have been collected.
        is_stored: whether a blob is in the repository; asked entry by entry where not trusted.
        cross_mounts: whether to enter directories on which another filesystem is mounted.
        hidden: paths that are no part of any set.
    """

    def __init__(
        self,
        roots: list[SourceRoot],
        *,
        rule: ContentRule,
        state: ScanState,
        trusted: bool,
        is_stored: Callable[[bytes], bool],
        cross_mounts: bool,
        progress: Progress,
        now_ns: int,
        hidden: Iterable[bytes] = (),
    ) -> None:
        self._roots = roots
        self._rule = rule
        self._state = state
        self._epoch = state.facts.epoch
        self._trusted = trusted
        self._is_stored = is_stored
        self._cross_mounts = cross_mounts
        self._progress = progress
        self._now_ns = now_ns
        self._hidden: dict[bytes, set[bytes]] = {}
        for path in hidden:
            folder, _, name = path.rpartition(b"/")
            self._hidden.setdefault(folder, set()).add(name)
        self._is_first = state.is_empty()
        self._spool = Spool()
        self._found = Found()
        self._problems: list[Problem] = []
        self._not_crossed: list[bytes] = []
        self._chain: DirectoryChain | None = None
        self._root = -1

    def run(self) -> ScanResult:
        """Scan everything.

        Raises:
            Unanchored: `state` cannot be trusted after all.
            Cancelled, StorageError.
        """
        # One level of folders is one call, and Python's calls do not use the C stack.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 200_000))
        tree = tree_of_roots(self._roots)
        try:
            top = self._visit_above(tree, b"") if tree.root is None else self._visit_root(tree.root)
        except Unanchored:
            self._spool.close()
            raise
        return ScanResult(self._spool, self._found, top, self._now_ns, self._problems, self._not_crossed)

    def _visit_above(self, node: RootNode, path: bytes) -> Unchanged | None:
        """A folder above the source roots: only the children that lead to one count."""
        listed: list[Listed] = []
        results: dict[bytes, Unchanged | None] = {}
        for name in sorted(node.children):
            child = node.children[name]
            below = path + b"/" + name if path else name
            try:
                if child.root is not None:
                    root = self._roots[child.root]
                    st = os.lstat(root.actual)
                    listed.append(_listed(name, st))
                    if is_folder(root):
                        results[name] = self._visit_root(child.root)
                else:
                    listed.append(_listed(name, os.stat(b"/" + below)))
                    results[name] = self._visit_above(child, below)
            except OSError as error:
                self._problems.append(Problem(b"/" + below, reason_of(error), int(Grade.UNREADABLE)))
        self._root = -1
        segment = self._segment(path, (), b"", listed, results, set(), _Previous(self._state.entries(path)))
        segment.ends = True
        return self._settle(path, [segment])

    def _visit_root(self, number: int) -> Unchanged | None:
        root = self._roots[number]
        self._root = number
        root_fd = os.open(root.actual, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with DirectoryChain(root_fd) as chain:
                self._chain = chain
                return self._visit((), root.path, os.fstat(root_fd).st_dev)
        finally:
            self._chain = None
            os.close(root_fd)

    def _visit(self, components: tuple[bytes, ...], path: bytes, device: int) -> Unchanged | None:
        """A folder and everything below it; None where anything changed, which is then in the spool."""
        assert self._chain is not None
        self._progress.scanning(self._found.files, self._found.bytes, path)
        self._found.folders += 1
        foreign: set[bytes] = set()
        unseen: list[tuple[bytes, str]] = []
        try:
            fd = self._chain.open(components)
            if components and self._cross_mounts:
                device = os.fstat(fd).st_dev
            listed = list_directory(fd, device, foreign, unseen)
        except OSError as error:
            return self._unlisted(components, path, reason_of(error))
        if listed is not None:
            self._problems += [
                Problem(_join(path, name), reason, int(Grade.UNREADABLE)) for name, reason in unseen
            ]
            runs: Iterator[list[Listed]]
            included = self._included(fd, path, listed)
            if len(included) <= _SPLIT_FROM:
                return self._visit_short(components, path, device, included, foreign)
            runs = iter(_split(included))
        else:
            runs = self._long_runs(components, path, device, foreign)
        return self._visit_long(components, path, device, runs, foreign)

    def _visit_short(
        self,
        components: tuple[bytes, ...],
        path: bytes,
        device: int,
        run: list[Listed],
        foreign: set[bytes],
    ) -> Unchanged | None:
        """The rest of `_visit` for a folder whose entries are one segment, as those of nearly all are."""
        # Asked before the folders below, as the state looks ahead in the order of paths.
        known = self._usable(self._state.segment(path, b""))
        results = self._visit_children(components, path, run, foreign, device)
        if known is not None and _still_is(known, run, results):
            return known.page, known.totals
        if self._is_first and not foreign and not any(results.values()):
            self._spool.add(self._new_segment(path, components, run))
            return None
        previous = _Previous(self._state.entries(path))
        segment = self._changed_segment(path, components, b"", run, results, foreign, previous)
        segment.ends = True
        self._spool.add(segment)
        return None

    def _visit_long(
        self,
        components: tuple[bytes, ...],
        path: bytes,
        device: int,
        runs: Iterator[list[Listed]],
        foreign: set[bytes],
    ) -> Unchanged | None:
        """The rest of `_visit` for a folder of several segments."""
        previous = _Previous(self._state.entries(path))
        unchanged: list[Segment] = []
        spooled = False
        first = b""
        run: list[Listed] | None = next(runs, [])
        while run is not None:
            results = self._visit_children(components, path, run, foreign, device)
            following = next(runs, None)
            is_split = bool(first) or following is not None
            segment = self._segment(
                path, components, first, run, results, foreign, previous, is_split=is_split
            )
            run = following
            first = run[0][0] if run else b""
            segment.ends = run is None
            unchanged.append(segment)
            if spooled or segment.reused is None:
                # From the first changed segment on, the folder's page has to be made anew of all of them.
                spooled = True
                for waiting in unchanged:
                    self._check_segment(waiting)
                    self._spool.add(waiting)
                unchanged.clear()
        return None if spooled else self._settle(path, unchanged)

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

    def _visit_children(
        self,
        components: tuple[bytes, ...],
        path: bytes,
        run: list[Listed],
        foreign: set[bytes],
        device: int,
    ) -> dict[bytes, Unchanged | None]:
        results: dict[bytes, Unchanged | None] = {}
        found = self._found
        sizes = [listed[2] for listed in run if listed[1] & _TYPE == _FILE]
        found.files += len(sizes)
        found.bytes += sum(sizes)
        if len(sizes) == len(run):
            return results
        for listed in run:
            if listed[1] & _TYPE == _FOLDER:
                name = listed[0]
                below = path + b"/" + name if path else name
                if name in foreign and not self._cross_mounts:
                    self._not_crossed.append(b"/" + below)
                    continue
                results[name] = self._visit((*components, name), below, device)
        return results

    def _long_runs(
        self, components: tuple[bytes, ...], path: bytes, device: int, foreign: set[bytes]
    ) -> Iterator[list[Listed]]:
        """The segments of a folder that is too long to hold, looked at one after the other."""
        assert self._chain is not None
        fd = os.dup(self._chain.open(components))
        try:
            names: list[bytes] = []
            for name in list_names(fd):
                names.append(name)
                if ends_segment(name) or len(names) >= MOST_ENTRIES:
                    if run := self._look(fd, path, names, device, foreign):
                        yield run
                    names = []
            if run := self._look(fd, path, names, device, foreign):
                yield run
        except OSError as error:
            self._problems.append(Problem(b"/" + path, reason_of(error), int(Grade.UNREADABLE)))
        finally:
            os.close(fd)

    def _look(
        self, fd: int, path: bytes, names: list[bytes], device: int, foreign: set[bytes]
    ) -> list[Listed]:
        unseen: list[tuple[bytes, str]] = []
        run = [listed for name in names if (listed := look_at(fd, name, device, foreign, unseen)) is not None]
        self._problems += [
            Problem(_join(path, name), reason, int(Grade.UNREADABLE)) for name, reason in unseen
        ]
        return self._included(fd, path, run)

    def _included(self, fd: int, path: bytes, listed: list[Listed]) -> list[Listed]:
        if (hidden := self._hidden.get(path)) is not None:
            listed = [entry for entry in listed if entry[0] not in hidden]
        matcher = self._rule.matcher_for(path, self._now_ns)
        if matcher is None:
            return listed
        tags = self._rule.asks_for_cache_tags
        kept = [
            entry
            for entry in listed
            if not matcher.excludes(
                entry[0],
                entry[1],
                entry[2],
                entry[3],
                tags and entry[1] & _TYPE == _FOLDER and has_cache_tag(fd, entry[0]),
            )
        ]
        self._found.excluded += len(listed) - len(kept)
        return kept

    def _unlisted(self, components: tuple[bytes, ...], path: bytes, reason: str) -> Unchanged | None:
        """A folder that cannot be listed keeps what it held at the last backup, and is named as a problem."""
        known = self._usable(self._state.whole(path))
        reused = (known.page, known.totals) if known is not None else None
        self._problems.append(Problem(b"/" + path, reason, int(Grade.UNREADABLE)))
        self._spool.add(Segment(self._root, components, path, b"", [], True, reason, reused))
        return None

    def _segment(
        self,
        path: bytes,
        components: tuple[bytes, ...],
        first: bytes,
        run: list[Listed],
        results: dict[bytes, Unchanged | None],
        foreign: set[bytes],
        previous: "_Previous",
        *,
        is_split: bool = False,
    ) -> Segment:
        """A run of entries compared with what is known: reused as it is, or with all its items."""
        known = self._usable(self._state.segment(path, first))
        if known is not None and _still_is(known, run, results):
            reused = (known.page, known.totals)
            return Segment(self._root, components, path, first, [], False, reused=reused)
        return self._changed_segment(
            path, components, first, run, results, foreign, previous, is_split=is_split
        )

    def _new_segment(self, path: bytes, components: tuple[bytes, ...], run: list[Listed]) -> Segment:
        """A folder's only segment, in the first backup of a set."""
        sizes = [listed[2] for listed in run if listed[1] & _TYPE == _FILE]
        self._found.changed_files += len(sizes)
        self._found.changed_bytes += sum(sizes)
        # A FileStat is what a Listed names the fields of: in the spool they are the same.
        new = cast(list[FileStat], run)
        return Segment(self._root, components, path, b"", [], True, new=new)

    def _changed_segment(
        self,
        path: bytes,
        components: tuple[bytes, ...],
        first: bytes,
        run: list[Listed],
        results: dict[bytes, Unchanged | None],
        foreign: set[bytes],
        previous: "_Previous",
        *,
        is_split: bool = False,
    ) -> Segment:
        """A run of entries with all its items."""
        if first and run:
            previous.skip_to(run[0][0])
        items = [
            self._item(path, listed, previous.get(listed[0]), results.get(listed[0]), listed[0] in foreign)
            for listed in run
        ]
        if not first and not is_split:
            previous.skip_to(None, gone=True)
        gone, previous.gone = previous.gone, []
        return Segment(self._root, components, path, first, items, False, gone=gone)

    def _usable(self, known: Known | None) -> Known | None:
        """What is known, where it may be believed."""
        return known if known is not None and (self._trusted or known.epoch == self._epoch) else None

    def _item(
        self, path: bytes, listed: Listed, previous: Entry | None, result: Unchanged | None, foreign: bool
    ) -> Item:
        seen = FileStat(*listed)
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
            item.is_mount_point = foreign and not self._cross_mounts
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


def _still_is(known: Known, run: list[Listed], results: dict[bytes, Unchanged | None]) -> bool:
    """Whether a run of entries and all below them are as they were when they became the known page."""
    child_pages: list[bytes] = []
    for result in results.values():
        if result is None:
            return False
        child_pages.append(result[0])
    return known.digest == segment_digest(run, child_pages)


def _listed(name: bytes, st: os.stat_result) -> Listed:
    return (
        name,
        st.st_mode,
        st.st_size,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_ino,
        st.st_uid,
        st.st_gid,
        st.st_nlink,
    )


def _join(path: bytes, name: bytes) -> bytes:
    return b"/" + path + b"/" + name if path else b"/" + name


def _split(listed: list[Listed]) -> list[list[Listed]]:
    if len(listed) <= _SPLIT_FROM:
        return [listed]
    runs: list[list[Listed]] = []
    run: list[Listed] = []
    for entry in listed:
        run.append(entry)
        if ends_segment(entry[0]) or len(run) >= MOST_ENTRIES:
            runs.append(run)
            run = []
    if run:
        runs.append(run)
    return runs


def has_cache_tag(dir_fd: int, name: bytes) -> bool:
    """Whether the directory `name` is tagged as a cache (https://bford.info/cachedir/)."""
    try:
        fd = os.open(name + b"/" + _TAG_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        return os.read(fd, len(_TAG_START)) == _TAG_START
    except OSError:
        return False
    finally:
        os.close(fd)
