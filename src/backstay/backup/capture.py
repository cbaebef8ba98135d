"""Steps 3 and 5 on one fileset: look, read what changed, and look again where files moved meanwhile.

Live files do not stand still. A file that is moved, while the scan is under way, out of a
folder that was not yet looked at into one that was, has been seen in neither. Such a move
leaves its trace in the folder that the file left: it has changed since the scan began.
See docs/decisions/0022-live-files-that-move.md.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from backstay.backup.freeze import FrozenSource
from backstay.backup.listing import Listing, ListingRequest, LiveListing
from backstay.backup.listing_ahead import ListingAhead, ListingLost
from backstay.backup.progress import Progress
from backstay.backup.scan import Scan, ScanResult, Unanchored
from backstay.backup.scan_state import ScanState
from backstay.backup.transmit import Transmit, Transmitted
from backstay.domain.content_rule import ContentRule
from backstay.domain.entry import Grade, Totals
from backstay.repository.details import Problem
from backstay.repository.packer import Packer
from backstay.system.host import TICK_NS, sync_filesystem

MOST_LOOKS = 3
"""A tree in which files are moved all the time is looked at so often; each look is shorter than the last."""

_SPEED_FROM_BYTES = 16 << 20
_GRANULARITY_NS = 2_000_000_000
"""The coarsest timestamps in use: FAT's two seconds."""


@dataclass
class Captured:
    """What became of a fileset.

    Attributes:
        root, totals: page of the whole tree, and what is below it.
        problems: of the last look, which is the one that the tree tells of.
        read_bytes: in all looks.
        messages: why it was looked at again, in words.
    """

    root: bytes
    totals: Totals
    problems: list[Problem]
    read_bytes: int
    messages: list[str] = field(default_factory=list)


class Capture:
    """The fileset of one backup.

    Args:
        rule: what is left out of it.
        packer: where content and pages go.
        trusted: as for Scan.
        ahead: a listing of the same paths that was begun a moment ago; used where it is what would be
            looked at now.
        tick: called often while reading: renews leases, makes checkpoints.
    """

    def __init__(
        self,
        frozen: FrozenSource,
        *,
        rule: ContentRule,
        cross_mounts: bool,
        state: ScanState,
        trusted: bool,
        packer: Packer,
        id_key: bytes,
        progress: Progress,
        tick: Callable[[], None],
        ahead: ListingAhead | None = None,
    ) -> None:
        self._frozen = frozen
        self._listing = ListingRequest(
            frozen.roots, rule, cross_mounts, frozen.asked_ns, frozenset(frozen.hidden)
        )
        self._state = state
        self._trusted = trusted
        self._packer = packer
        self._id_key = id_key
        self._progress = progress
        self._tick = tick
        self._ahead = ahead

    def scan(self) -> ScanResult:
        """Look at the fileset for the first time.

        Raises:
            Cancelled, StorageError.
        """
        if self._ahead is not None and self._ahead.fits(self._listing):
            with suppress(Unanchored, ListingLost):
                return self._compare(self._ahead, self._ahead.started_ns, trusted=self._trusted)
        return self._look(self._listing)

    def transmit(self, scan: ScanResult, figures: dict[str, int | float]) -> Captured:
        """Store what `scan` found, and what further looks find; `figures` gets what the step did.

        Closes the spool of `scan`.

        Raises:
            Cancelled, StorageError.
        """
        captured, moved = self._transmit(scan, figures)
        looks = 1
        while moved and looks < MOST_LOOKS:
            looks += 1
            captured.messages.append(f"{moved}; so everything was looked at again")
            # What changed a tick ago bears a time that cannot be told from now.
            time.sleep(TICK_NS / 1e9)
            scan = self._look(replace(self._listing, now_ns=time.time_ns()))
            again, moved = self._transmit(scan, figures)
            again.messages[:0] = captured.messages
            again.read_bytes += captured.read_bytes
            captured = again
        if moved:
            captured.messages.append(
                f"{moved}; a live file that was moved at that moment may only be in the next restore point"
            )
        return captured

    def _look(self, listing: ListingRequest) -> ScanResult:
        for root in self._frozen.roots:
            # A page of a mapped file that is dirty already changes without a new mtime until it is
            # written back; from here on every change is seen in the times.
            sync_filesystem(root.actual)
        try:
            return self._compare(LiveListing(listing), listing.now_ns, trusted=self._trusted)
        except Unanchored:
            return self._compare(LiveListing(listing), listing.now_ns, trusted=False)

    def _compare(self, listing: Listing, started_ns: int, *, trusted: bool) -> ScanResult:
        try:
            return Scan(
                listing,
                state=self._state,
                trusted=trusted,
                is_stored=self._packer.has,
                progress=self._progress,
                started_ns=started_ns,
            ).run()
        finally:
            listing.close()

    def _transmit(self, scan: ScanResult, figures: dict[str, int | float]) -> tuple[Captured, str]:
        """What became of it, and why there may be more to see, or an empty text."""
        try:
            transmit = Transmit(
                self._frozen.roots,
                sink=self._packer,
                id_key=self._id_key,
                state=self._state,
                racy_from_ns=scan.started_ns - _GRANULARITY_NS,
                progress=self._progress,
                tick=self._tick,
                devices=self._frozen.devices,
            )
            started = time.monotonic()
            root, totals = transmit.run(scan)
            self._packer.flush()
            seconds = max(time.monotonic() - started, 0.001)
        finally:
            scan.spool.close()
        done, stored = transmit.done, self._packer.figures
        figures["files"] = figures.get("files", 0) + done.files
        figures["bytes"] = figures.get("bytes", 0) + done.read_bytes
        figures |= {
            "new_blobs": stored.new_blobs,
            "new_bytes": stored.new_bytes,
            "stored_bytes": stored.stored_bytes,
            "problems": len(done.problems),
        }
        if done.read_bytes >= _SPEED_FROM_BYTES:
            self._state.facts.bytes_per_second = done.read_bytes / seconds
            self._state.facts.files_per_second = done.files / seconds
        problems = scan.problems + done.problems
        return Captured(root, totals, problems, done.read_bytes), self._moved(scan, done)

    def _moved(self, scan: ScanResult, done: Transmitted) -> str:
        if all(grade == Grade.SNAPSHOT for root in self._frozen.roots for grade in root.grades):
            return ""
        if scan.unsettled:
            folders = "a folder" if scan.unsettled == 1 else f"{scan.unsettled:,} folders"
            return f"{folders} changed while the files were looked at"
        if done.gone:
            files = "a file" if done.gone == 1 else f"{done.gone:,} files"
            return f"{files} vanished or became something else while the backup ran"
        return ""
