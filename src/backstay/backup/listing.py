"""What the disk shows: every folder of a set, in the order in which the scan wants to know of them.

A folder comes before the folders in it, so that whoever looks need not wait for whoever
compares. Nothing here knows what was stored before.
"""

import stat
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from backstay.backup.source import RootNode, SourceRoot, tree_of_roots
from backstay.domain.content_rule import ContentRule
from backstay.filesystem.extras import stat_of
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.reasons import reason_of
from backstay.filesystem.walker import Listed, list_directory, list_names, look_at
from backstay.repository.splitting import MOST_ENTRIES, ends_segment
from backstay.system.calls import os
from backstay.system.host import stamp_time_ns

SPLIT_FROM = 1024
"""Folders of more entries become several segments."""

_TYPE = 0o170000
_FOLDER = stat.S_IFDIR
_FILE = stat.S_IFREG
_TAG_NAME = b"CACHEDIR.TAG"
_TAG_START = b"Signature: 8a477f597d28d172789f06886806bc55"

_encode = msgspec.msgpack.Encoder().encode


class Run(msgspec.Struct, array_like=True, gc=False):
    """A run of a folder's entries: all of them, or one segment of a long folder.

    Attributes:
        path: the folder's path from the file system's root, without a leading slash.
        root: number of the source root that the folder lies in; -1 for the folders above the roots.
        stats: a FileStat of each entry, sorted by name, encoded.
        first: name of the first entry; empty for a folder's first run.
        folders: those among them that are entered, in order: their runs come before the folder's next.
        not_crossed: those that are on another file system, and not entered.
        files, size: regular files among them, and their bytes.
        excluded: entries that the content rule leaves out.
        problems: paths of what could not be looked at, and why.
        is_last: no other run of this folder follows.
        reason: why the folder could not be listed, or empty.
        unsettled: entries came or went since the listing began, in a folder of which this is the last run.
    """

    path: bytes
    root: int
    stats: bytes = b"\x90"
    first: bytes = b""
    folders: list[bytes] = []
    not_crossed: list[bytes] = []
    files: int = 0
    size: int = 0
    excluded: int = 0
    problems: list[tuple[bytes, str]] = []
    is_last: bool = True
    reason: str = ""
    unsettled: bool = False


@dataclass(frozen=True)
class ListingRequest:
    """What to list, and how.

    Attributes:
        rule: what to leave out.
        cross_mounts: whether to enter directories on which another filesystem is mounted.
        now_ns: the time of the scan, for rules that ask for a file's age.
        hidden: paths that are no part of any set.
    """

    roots: list[SourceRoot]
    rule: ContentRule = field(default_factory=ContentRule)
    cross_mounts: bool = False
    now_ns: int = 0
    hidden: frozenset[bytes] = frozenset()


class Listing(Protocol):
    """Gives the runs one after the other."""

    def next(self) -> Run:
        """The next run, as long as there are any."""

    def close(self) -> None:
        """Stop looking."""


class LiveListing:
    """Looks at a folder at the moment it is asked for."""

    def __init__(self, request: ListingRequest) -> None:
        self._runs = list_runs(request)

    def next(self) -> Run:
        """As Listing.next."""
        return next(self._runs)

    def close(self) -> None:
        """As Listing.close."""
        self._runs.close()


def list_runs(request: ListingRequest) -> Generator[Run, None, None]:
    """Every run: of the folders above the roots, of the roots, of the folders below, depth first.

    What cannot be looked at is told in the run. However deep the tree, no call is nested.
    """
    lister = _Lister(request)
    try:
        tree = tree_of_roots(request.roots)
        first = lister.above(tree, b"") if tree.root is None else lister.root(tree.root)
        waiting: list[Iterator[Run | _Below]] = [first]
        while waiting:
            item = next(waiting[-1], None)
            if item is None:
                waiting.pop()
            elif isinstance(item, Run):
                yield item
            else:
                waiting.append(item.enter())
    finally:
        lister.close()


class _Below:
    """A folder to be entered before the one that named it goes on."""

    __slots__ = ("components", "device", "lister", "node", "path")

    def __init__(
        self,
        lister: "_Lister",
        path: bytes,
        components: tuple[bytes, ...] = (),
        device: int = 0,
        node: RootNode | None = None,
    ) -> None:
        self.lister = lister
        self.path = path
        self.components = components
        self.device = device
        self.node = node

    def enter(self) -> "Iterator[Run | _Below]":
        """The folder's own runs, and the folders in it."""
        if self.node is None:
            return self.lister.folder(self.components, self.path, self.device)
        if self.node.root is None:
            return self.lister.above(self.node, self.path)
        return self.lister.root(self.node.root)


class _Lister:
    """The open directories, and what holds for the whole listing."""

    def __init__(self, request: ListingRequest) -> None:
        self._request = request
        self._cross = request.cross_mounts
        self._began_ns = stamp_time_ns()
        self._hidden: dict[bytes, set[bytes]] = {}
        for path in request.hidden:
            folder, _, name = path.rpartition(b"/")
            self._hidden.setdefault(folder, set()).add(name)
        self._chain: DirectoryChain | None = None
        self._root_fd = -1
        self._root = -1

    def close(self) -> None:
        """Close every directory."""
        if self._chain is not None:
            self._chain.close()
            self._chain = None
            os.close(self._root_fd)

    def above(self, node: RootNode, path: bytes) -> Iterator[Run | _Below]:
        """A folder above the source roots: only the children that lead to one count."""
        listed: list[Listed] = []
        folders: list[bytes] = []
        problems: list[tuple[bytes, str]] = []
        for name in sorted(node.children):
            child, below = node.children[name], _below(path, name)
            try:
                st = (
                    os.stat(b"/" + below)
                    if child.root is None
                    else os.lstat(self._request.roots[child.root].actual)
                )
            except OSError as error:
                problems.append((b"/" + below, reason_of(error)))
                continue
            listed.append(stat_of(name, st))
            if stat.S_ISDIR(st.st_mode):
                folders.append(name)
        run = self._run(path, listed, set(), problems, 0)
        run.root, run.folders = -1, folders
        yield run
        for name in folders:
            yield _Below(self, _below(path, name), node=node.children[name])

    def root(self, number: int) -> Iterator[Run | _Below]:
        """A source root that is a folder."""
        self.close()
        root = self._request.roots[number]
        self._root = number
        try:
            self._root_fd = os.open(root.actual, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            yield Run(root.path, number, reason=reason_of(error))
            return
        self._chain = DirectoryChain(self._root_fd)
        yield _Below(self, root.path, device=os.fstat(self._root_fd).st_dev)

    def folder(self, components: tuple[bytes, ...], path: bytes, device: int) -> Iterator[Run | _Below]:
        """A folder below a root, or the root."""
        assert self._chain is not None
        foreign: set[bytes] = set()
        unseen: list[tuple[bytes, str]] = []
        try:
            fd = self._chain.open(components)
            if components and self._cross:
                device = os.fstat(fd).st_dev
            listed = list_directory(fd, device, foreign, unseen)
            if listed is None:
                pieces = _without_empty(self._long_pieces(os.dup(fd), path, device))
            else:
                excluded, listed = self._included(fd, path, listed)
                unsettled = self._is_unsettled(fd)
        except OSError as error:
            yield Run(path, self._root, reason=reason_of(error))
            return
        if listed is not None:
            problems = _at(path, unseen) if unseen else []
            if len(listed) <= SPLIT_FROM:
                # Nearly every folder is such a one.
                run = self._run(path, listed, foreign, problems, excluded)
                run.unsettled = unsettled
                yield run
                for name in run.folders:
                    yield _Below(self, _below(path, name), (*components, name), device)
                return
            pieces = _split(_Piece(listed, foreign, problems, excluded))
        piece: _Piece | None = next(pieces)
        first = b""
        while piece is not None:
            run = self._run(path, piece.listed, piece.foreign, piece.problems, piece.excluded)
            following = next(pieces, None)
            run.first, run.is_last = first, following is None
            if run.is_last:
                run.unsettled = self._became_unsettled(components)
            yield run
            for name in run.folders:
                yield _Below(self, _below(path, name), (*components, name), device)
            piece = following
            first = piece.listed[0][0] if piece is not None else b""

    def _is_unsettled(self, fd: int) -> bool:
        changed_ns = os.fstat(fd).st_ctime_ns
        # A time that is yet to come tells of a clock that was set, not of a change.
        return changed_ns >= self._began_ns and changed_ns <= time.time_ns()

    def _became_unsettled(self, components: tuple[bytes, ...]) -> bool:
        """The same of a long folder that may have gone meanwhile."""
        assert self._chain is not None
        try:
            return self._is_unsettled(self._chain.open(components))
        except OSError:
            return True

    def _run(
        self,
        path: bytes,
        listed: list[Listed],
        foreign: set[bytes],
        problems: list[tuple[bytes, str]],
        excluded: int,
    ) -> Run:
        sizes = [entry[2] for entry in listed if entry[1] & _TYPE == _FILE]
        folders: list[bytes] = []
        not_crossed: list[bytes] = []
        if len(sizes) < len(listed):
            folders = [entry[0] for entry in listed if entry[1] & _TYPE == _FOLDER]
            if foreign and not self._cross:
                not_crossed = [name for name in folders if name in foreign]
                folders = [name for name in folders if name not in foreign]
        return Run(
            path,
            self._root,
            _encode(listed),
            b"",
            folders,
            not_crossed,
            len(sizes),
            sum(sizes),
            excluded,
            problems,
        )

    def _long_pieces(self, fd: int, path: bytes, device: int) -> Iterator["_Piece"]:
        """A folder that is too long to hold, looked at piece by piece."""
        names: list[bytes] = []
        try:
            for name in list_names(fd):
                names.append(name)
                if ends_segment(name) or len(names) >= MOST_ENTRIES:
                    yield self._look(fd, path, names, device)
                    names = []
            yield self._look(fd, path, names, device)
        except OSError as error:
            yield _Piece([], set(), [(b"/" + path, reason_of(error))])
        finally:
            os.close(fd)

    def _look(self, fd: int, path: bytes, names: list[bytes], device: int) -> "_Piece":
        foreign: set[bytes] = set()
        unseen: list[tuple[bytes, str]] = []
        seen = [look_at(fd, name, device, foreign, unseen) for name in names]
        excluded, listed = self._included(fd, path, [entry for entry in seen if entry is not None])
        return _Piece(listed, foreign, _at(path, unseen), excluded)

    def _included(self, fd: int, path: bytes, listed: list[Listed]) -> tuple[int, list[Listed]]:
        """How many entries the rule leaves out, and the others."""
        if (hidden := self._hidden.get(path)) is not None:
            listed = [entry for entry in listed if entry[0] not in hidden]
        rule = self._request.rule
        matcher = rule.matcher_for(path, self._request.now_ns)
        if matcher is None:
            return 0, listed
        tags = rule.asks_for_cache_tags
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
        return len(listed) - len(kept), kept


@dataclass
class _Piece:
    """Entries that become one run: what was seen, which of it is on another device, and what went wrong."""

    listed: list[Listed]
    foreign: set[bytes]
    problems: list[tuple[bytes, str]]
    excluded: int = 0

    def joined(self, later: "_Piece") -> "_Piece":
        """Both as one."""
        return _Piece(
            self.listed + later.listed,
            self.foreign | later.foreign,
            self.problems + later.problems,
            self.excluded + later.excluded,
        )


def _without_empty(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """The same, those without entries joined to others: a folder's only run may be empty, and no other."""
    held = next(pieces)
    for piece in pieces:
        if held.listed and piece.listed:
            yield held
            held = piece
        else:
            held = held.joined(piece)
    yield held


def _split(piece: _Piece) -> Iterator[_Piece]:
    """A folder that was looked at as a whole, cut where its names say; problems go with the first run."""
    if len(piece.listed) <= SPLIT_FROM:
        yield piece
        return
    run: list[Listed] = []
    problems, excluded = piece.problems, piece.excluded
    for entry in piece.listed:
        run.append(entry)
        if ends_segment(entry[0]) or len(run) >= MOST_ENTRIES:
            yield _Piece(run, piece.foreign, problems, excluded)
            run, problems, excluded = [], [], 0
    if run:
        yield _Piece(run, piece.foreign, problems, excluded)


def _below(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _at(path: bytes, unseen: list[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
    return [(b"/" + _below(path, name), reason) for name, reason in unseen]


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


def is_cache_folder(path: bytes) -> bool:
    """The same of the directory at an absolute path, which may lack its leading slash."""
    try:
        above = os.open(os.path.dirname(b"/" + path) or b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return has_cache_tag(above, os.path.basename(path))
    finally:
        os.close(above)
