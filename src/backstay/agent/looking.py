"""Answers what a content rule would leave out of a folder as it is on this disk now.

Only names, kinds and sizes are read. As in a backup, nothing below a folder that is left out is looked at,
and Backstay's own folders are always left out.
"""

import stat
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from backstay.backup.listing import has_cache_tag, is_cache_folder
from backstay.backup.own_places import leaving_out
from backstay.domain.content_rule import ContentRule, Verdict
from backstay.domain.default_rules import rules_of_this_system
from backstay.domain.errors import BackstayError
from backstay.filesystem.extras import stat_of
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.reasons import reason_of
from backstay.protocol.report import LookAnswer, LookedEntry, Outcome
from backstay.protocol.ticket import LookTicket
from backstay.system.calls import os
from backstay.system.host import chosen_path

_MOST_LOOKED_AT = 50_000
_MOST_LEFT_OUT = 50
_MOST_BYTES = 200_000
_LONGEST_REASON = 300

Kind = Literal["folder", "file", "link", "other"]


def look(ticket: LookTicket, own_folders: Sequence[Path] = ()) -> Outcome:
    """The outcome that carries the answer; where it cannot be looked at, the answer says why."""
    try:
        answer = _Look(ticket, own_folders).answer()
    except BackstayError as error:
        answer = LookAnswer(problem=error.what[:1000])
    except OSError as error:
        answer = LookAnswer(problem=reason_of(error)[:1000])
    return Outcome(epoch=ticket.epoch, state="succeeded", look=answer)


class _Look:
    def __init__(self, ticket: LookTicket, own_folders: Sequence[Path]) -> None:
        rule = rules_of_this_system() if ticket.default_rules else ContentRule()
        rule += ContentRule.parse(ticket.rule.encode("utf-8", "surrogateescape"), "the rule")
        self._rule = rule + leaving_out(own_folders)
        self._ticket = ticket
        self._now_ns = time.time_ns()
        self._ends = time.monotonic() + ticket.seconds
        self._left = _MOST_LOOKED_AT
        self._bytes = 0
        self._path = os.path.abspath(chosen_path(os.fsdecode(ticket.path)))

    def answer(self) -> LookAnswer:
        try:
            st = os.lstat(self._path)
        except FileNotFoundError:
            return LookAnswer(above=self._above(None))
        above = self._above(st)
        if not stat.S_ISDIR(st.st_mode):
            return LookAnswer(found="file", above=above)
        if above and not above[-1].included:
            return LookAnswer(found="folder", above=above)
        return self._folder(above)

    def _above(self, st: "os.stat_result | None") -> list[LookedEntry]:
        relative = self._path.lstrip(b"/")
        if not relative:
            return []
        is_folder = st is not None and stat.S_ISDIR(st.st_mode)
        seen = stat_of(os.path.basename(self._path), st) if st is not None else None
        explained = self._rule.explain(relative, is_folder, seen, self._now_ns, is_cache_folder)
        last = _kind(st.st_mode) if st is not None else "other"
        return [
            LookedEntry(
                path=b"/" + path,
                kind=last if path == relative else "folder",
                included=verdict.included,
                reason=verdict.reason[:_LONGEST_REASON],
            )
            for path, verdict in explained
        ]

    def _folder(self, above: list[LookedEntry]) -> LookAnswer:
        """The entries of the folder, and sums of what is below it."""
        root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        entries: list[LookedEntry] = []
        left_out: list[LookedEntry] = []
        files = size = out_files = out_size = out_folders = 0
        complete, more = True, False
        folders: list[tuple[bytes, ...]] = [()]
        try:
            device = os.fstat(root).st_dev
            with DirectoryChain(root) as chain:
                while folders:
                    components = folders.pop()
                    if self._left <= 0 or time.monotonic() > self._ends:
                        complete = False
                        break
                    try:
                        fd = chain.open(components)
                        found, all_of_it = self._list(fd)
                    except OSError:
                        complete = False
                        continue
                    complete = complete and all_of_it
                    below = b"/".join((self._path.strip(b"/"), *components)).lstrip(b"/")
                    for name, st in found:
                        entry, foreign = self._judged(fd, below, name, st, device)
                        if not components and not self._told(entries, entry):
                            more = True
                        if entry.included and not foreign:
                            if entry.kind == "folder":
                                folders.append((*components, name))
                            else:
                                files, size = files + 1, size + entry.size
                        elif not foreign:
                            if entry.kind == "folder":
                                out_folders += 1
                            else:
                                out_files, out_size = out_files + 1, out_size + entry.size
                            if len(left_out) < _MOST_LEFT_OUT:
                                left_out.append(entry)
        finally:
            os.close(root)
        return LookAnswer(
            found="folder",
            above=above,
            entries=sorted(entries, key=lambda one: (one.kind != "folder", one.path)),
            more=more,
            left_out=left_out,
            files=files,
            bytes=size,
            left_out_files=out_files,
            left_out_bytes=out_size,
            left_out_folders=out_folders,
            complete=complete,
        )

    def _list(self, fd: int) -> tuple[list[tuple[bytes, "os.stat_result"]], bool]:
        """The entries of an open folder, sorted, as many as may be looked at; and whether these are all."""
        found: list[tuple[bytes, os.stat_result]] = []
        with os.scandir(fd) as listing:
            for entry in islice(listing, self._left):
                self._left -= 1
                try:
                    found.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
                except OSError:
                    continue
                if time.monotonic() > self._ends:
                    break
            whole = next(listing, None) is None
        found.sort(key=lambda one: one[0])
        return found, whole

    def _judged(
        self, fd: int, below: bytes, name: bytes, st: "os.stat_result", device: int
    ) -> tuple[LookedEntry, bool]:
        """The entry, and whether it is a mount point that the set does not cross."""
        path = below + b"/" + name if below else name
        is_folder = stat.S_ISDIR(st.st_mode)
        tag = is_folder and self._rule.asks_for_cache_tags and has_cache_tag(fd, name)
        verdict = self._rule.verdict(path, is_folder, stat_of(name, st), self._now_ns, cache_tag=tag)
        foreign = verdict.included and is_folder and st.st_dev != device and not self._ticket.cross_mounts
        if foreign:
            verdict = Verdict(False, None, "not entered: another file system is mounted there")
        return (
            LookedEntry(
                path=b"/" + path,
                kind=_kind(st.st_mode),
                size=0 if is_folder else st.st_size,
                included=verdict.included,
                reason=verdict.reason[:_LONGEST_REASON],
            ),
            foreign,
        )

    def _told(self, entries: list[LookedEntry], entry: LookedEntry) -> bool:
        if len(entries) >= self._ticket.most_entries or self._bytes > _MOST_BYTES:
            return False
        self._bytes += len(entry.path) + len(entry.reason)
        entries.append(entry)
        return True


def _kind(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    return "link" if stat.S_ISLNK(mode) else "other"
