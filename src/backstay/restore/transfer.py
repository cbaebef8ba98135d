"""Writing the content: folders first, then everything in them; every frame is fetched and decoded once."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, local

from backstay.domain.errors import DamagedObject, StorageError, StorageUnavailable
from backstay.filesystem.metadata import Owners
from backstay.filesystem.opening import DirectoryChain, open_directory
from backstay.filesystem.reasons import reason_of
from backstay.filesystem.writer import TreeWriter, discard
from backstay.repository.blob_source import BlobSource
from backstay.repository.layout import pack_name
from backstay.repository.pack import Trailer
from backstay.restore.existing import Action
from backstay.restore.file_maker import FileMaker, FolderUnusable
from backstay.restore.folders import Places
from backstay.restore.outcome import RestoreOutcome
from backstay.restore.partial_files import PartialFiles
from backstay.restore.pieces import Batch, FrameNeed, Piece
from backstay.restore.plan import RestorePlan
from backstay.restore.progress import Progress
from backstay.restore.spool import FileRecord, FolderRecord, SpoolReader
from backstay.storage.interface import Buffer
from backstay.system.calls import os

_WRITERS = 4
_AHEAD = 6
_SPAN_BYTES = 4 << 20
_SPAN_GAP = 128 << 10

Done = tuple[int, int, bytes]
"""What a job has done: files, bytes, and the path near which it worked."""


class Transfer:
    """Writes what a plan says, but for hard links and the metadata of folders.

    Args:
        top: the open target.
        outcome: takes what was done and what went wrong.
    """

    def __init__(
        self, plan: RestorePlan, top: int, tree: TreeWriter, owners: Owners, outcome: RestoreOutcome
    ) -> None:
        self._plan = plan
        self._top = top
        self._tree = tree
        self._owners = owners
        self._outcome = outcome
        self._partial = PartialFiles(tree)
        self._local = local()
        self._hands: list[_Hand] = []
        self._lock = Lock()

    def run(self, progress: Progress) -> None:
        """Write everything.

        Raises:
            TargetError: the target cannot be written any more.
            Cancelled, StorageUnavailable, KeyMissing.
        """
        self._make_folders(progress)
        pool = ThreadPoolExecutor(_WRITERS, "backstay-restore")
        waiting: deque[Future[Done]] = deque()
        try:
            for job in self._jobs():
                waiting.append(pool.submit(job))
                if len(waiting) > _AHEAD:
                    self._told(waiting.popleft().result(), progress)
            while waiting:
                self._told(waiting.popleft().result(), progress)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            if self._hands:
                self._partial.abandon(self._hands[0].maker)
            for hand in self._hands:
                hand.maker.close()

    def _told(self, done: Done, progress: Progress) -> None:
        files, size, path = done
        self._outcome.files += files
        self._outcome.bytes += size
        progress.advanced(self._outcome.files, self._outcome.bytes, os.path.join(self._plan.target, path))

    def _jobs(self) -> Iterator[Callable[[], Done]]:
        for start, stop in self._plan.prepared.runs():
            yield lambda start=start, stop=stop: self._hand().prepared(start, stop)  # type: ignore[misc]
        for batch in self._plan.pieces.batches():
            yield lambda batch=batch: self._hand().frames(batch)  # type: ignore[misc]

    def _hand(self) -> "_Hand":
        hand: _Hand | None = getattr(self._local, "hand", None)
        if hand is None:
            with self._lock:
                maker = FileMaker(
                    self._top,
                    self._plan.folders,
                    self._tree,
                    self._owners,
                    permissions=self._plan.with_permissions,
                )
                hand = self._local.hand = _Hand(self._plan, maker, self._partial, self._outcome)
                self._hands.append(hand)
        return hand

    def _make_folders(self, progress: Progress) -> None:
        folders, places = self._plan.folders, Places(self._plan.folders)
        with DirectoryChain(self._top) as chain:
            for number, record in enumerate(folders.spool, 1):
                if not folders.is_usable(record.parent):
                    folders.give_up(number)
                    continue
                above = places.components(record.parent)
                try:
                    self._make_folder(chain.open(above), record)
                except OSError as error:
                    folders.give_up(number)
                    self._outcome.failed(
                        b"/".join((*above, record.name)), f"the folder cannot be made: {reason_of(error)}"
                    )
                if number % 1000 == 0:
                    progress.advanced(0, 0, os.path.join(self._plan.target, *above, record.name))

    def _make_folder(self, dir_fd: int, record: FolderRecord) -> None:
        if record.action == Action.ENTER and not record.finish:
            os.close(open_directory(dir_fd, record.name))
            return
        if record.action == Action.REPLACE:
            discard(dir_fd, record.name)
        if self._tree.make_directory(dir_fd, record.name, record.entry):
            self._outcome.folders += 1


class _Hand:
    """What one thread does."""

    def __init__(
        self, plan: RestorePlan, maker: FileMaker, partial: PartialFiles, outcome: RestoreOutcome
    ) -> None:
        self.maker = maker
        self._plan = plan
        self._blobs: BlobSource = plan.blobs
        self._blob_id = plan.blobs.repository.blob_id
        self._storage = plan.blobs.repository.storage
        self._partial = partial
        self._outcome = outcome
        self._records: SpoolReader[FileRecord] = plan.files.reader()
        self._files = 0
        self._bytes = 0

    def prepared(self, start: int, stop: int) -> Done:
        """Make what needs no pieces."""
        self._files = self._bytes = 0
        for _, record in self._plan.prepared.between(start, stop):
            entry = record.entry
            self._whole(record, entry.inline or b"" if entry.is_regular else b"")
        return self._done()

    def frames(self, batch: Batch) -> Done:
        """Write all that needs these frames."""
        self._files = self._bytes = 0
        if batch.pack is None:
            for frame in batch.frames:
                self._recover(frame)
            return self._done()
        try:
            trailer = self._blobs.reader.trailer(batch.pack)
        except StorageUnavailable:
            raise
        except (StorageError, DamagedObject):
            for frame in batch.frames:
                self._recover(frame)
            return self._done()
        for frame in batch.frames:
            if frame.number >= len(trailer.frames):
                self._recover(frame)
        for span in _spans(batch, trailer):
            self._span(batch.pack, trailer, span)
        return self._done()

    def _done(self) -> Done:
        return self._files, self._bytes, self.maker.folder_path

    def _span(self, pack: bytes, trailer: Trailer, span: list[FrameNeed]) -> None:
        first, last = trailer.frames[span[0].number], trailer.frames[span[-1].number]
        try:
            sealed = memoryview(
                self._storage.get(pack_name(pack), first.offset, last.offset + last.length - first.offset)
            )
        except StorageUnavailable:
            raise
        except StorageError:
            sealed = memoryview(b"")
        for frame in span:
            record = trailer.frames[frame.number]
            at = record.offset - first.offset
            try:
                raw = self._blobs.reader.open_frame(
                    pack, trailer, frame.number, sealed[at : at + record.length]
                )
            except DamagedObject:
                self._recover(frame)
                continue
            view, blob_id = memoryview(raw), self._blob_id
            for piece in self._plan.pieces.between(frame.start, frame.stop):
                data = view[piece.offset : piece.offset + piece.length]
                if blob_id(data) == piece.blob:
                    self._write(piece, data)
                else:
                    self._recover_piece(piece)

    def _recover(self, frame: FrameNeed) -> None:
        """Read the blobs of a frame that cannot be had from wherever else they are."""
        for piece in self._plan.pieces.between(frame.start, frame.stop):
            self._recover_piece(piece)

    def _recover_piece(self, piece: Piece) -> None:
        try:
            data = self._blobs.read(piece.blob)
        except StorageUnavailable:
            raise
        except (DamagedObject, StorageError) as error:
            self._write(piece, None, error.what)
            return
        if len(data) == piece.length:
            self._write(piece, data)
        else:
            self._write(piece, None, "the list of its pieces does not fit its content")

    def _write(self, piece: Piece, data: Buffer | None, reason: str = "") -> None:
        record = self._records.at(piece.file)
        if record.pieces == 1 and piece.length == record.entry.size:
            if data is None:
                self._outcome.lost(record, self._place(record), f"it is not restored: {reason}")
            else:
                self._whole(record, data)
            return
        try:
            finished = self._partial.write(self.maker, piece.file, record, piece.at, data, reason)
        except FolderUnusable:
            return
        except OSError as error:
            self._failed(record, error)
            return
        self._bytes += len(data) if data is not None else 0
        if finished is None:
            return
        if finished.whole:
            self._files += 1
            self._tell(record, finished.problems)
        else:
            self._outcome.lost(record, self._place(record), finished.problems[0])

    def _whole(self, record: FileRecord, data: Buffer) -> None:
        try:
            problems = self.maker.make(record, data)
        except FolderUnusable:
            return
        except OSError as error:
            self._failed(record, error)
            return
        if record.entry.is_regular:
            self._files += 1
            self._bytes += len(data)
        else:
            self._outcome.count_other()
        if problems:
            self._tell(record, problems)

    def _tell(self, record: FileRecord, problems: list[str]) -> None:
        for problem in problems:
            self._outcome.failed(self._place(record), problem)

    def _failed(self, record: FileRecord, error: OSError) -> None:
        self._outcome.lost(record, self._place(record), f"it cannot be written: {reason_of(error)}")

    def _place(self, record: FileRecord) -> bytes:
        return self.maker.path(record.folder, record.name)


def _spans(batch: Batch, trailer: Trailer) -> Iterator[list[FrameNeed]]:
    """The frames of a batch in runs that are worth one range read each."""
    span: list[FrameNeed] = []
    start = end = 0
    for frame in batch.frames:
        if frame.number >= len(trailer.frames):
            continue
        record = trailer.frames[frame.number]
        beyond = record.offset + record.length
        if span and (not 0 <= record.offset - end <= _SPAN_GAP or beyond - start > _SPAN_BYTES):
            yield span
            span = []
        if not span:
            start = record.offset
        span.append(frame)
        end = beyond
    if span:
        yield span
