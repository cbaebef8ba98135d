"""Backup sessions, prunes and rebuilds interleaved in any order, against a model of sets of blobs.

Everything runs in one thread, on one storage whose clock the test moves. To let things
happen in the middle of a prune or rebuild, its storage runs them before one of its
operations. The model knows of each restore point that was reported only which blobs it
needs; after every step each of them must lie in a pack that is there and indexed.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backstay.domain.entry import Chunk, Entry, Totals
from backstay.domain.errors import RepositoryError
from backstay.repository.details import Details, put_details
from backstay.repository.layout import pack_name
from backstay.repository.manifest import Manifest, RestorePoint
from backstay.repository.pack import PREFIX, BlobKind, read_trailer
from backstay.repository.prune import run_prune
from backstay.repository.rebuild import run_rebuild
from backstay.repository.repository import Repository
from backstay.repository.session import LEASE_SECONDS, SLACK_SECONDS
from backstay.repository.tree import put_entries
from backstay.repository.verify import run_verify
from backstay.repository.writing_session import WritingSession
from backstay.testing.crash_rig import new_repository, small_sizes
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.memory_storage import MemoryStorage
from backstay.testing.witness import needed_blobs

DAY = 24 * 3600.0
WRITERS = (0, 1)
CONTENTS = st.sets(st.integers(0, 15), min_size=1, max_size=6)
WAITS = st.sampled_from([1.0, 600.0, 0.5 * SLACK_SECONDS, 1.1 * SLACK_SECONDS, 0.6 * DAY, LEASE_SECONDS + 60])


class Died(BaseException):
    """The process was killed."""


class Interrupted(FaultyStorage):
    """Does something before one of its operations, or dies there."""

    def __init__(self, inner: MemoryStorage, number: int, act: Callable[[], object], *, dies: bool) -> None:
        super().__init__(inner, "")
        self._left = number
        self._act = act
        self._dies = dies

    def _begin(self, operation: str, name: str = "") -> str:
        self._left -= 1
        if self._left == 0:
            self._act()
        if self._left <= 0 and self._dies:
            raise Died
        return super()._begin(operation, name)


class Writer:
    """One file server: its own caches, its session, and what it remembers."""

    def __init__(self, repository: Repository, name: str) -> None:
        self.repository = repository
        self.name = name
        self.session: WritingSession | None = None
        self.entries: dict[bytes, Entry] = {}
        self.needs: set[bytes] = set()
        self.base: tuple[RestorePoint, set[bytes]] | None = None
        self.sequence = 0
        self.previous = b""


class GarbageCollection(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="backstay-model-"))
        self.now = 1e9
        self.sizes = small_sizes()
        self.sizes.__enter__()
        objects, self.secrets = new_repository()
        self.storage = MemoryStorage(clock=lambda: self.now)
        for name, whole, _ in objects:
            self.storage.put(name, [whole])
        self.writers = [Writer(self.open(f"cache-{number}"), f"server-{number}") for number in WRITERS]
        self.reported: dict[bytes, set[bytes]] = {}
        self.expired: set[bytes] = set()

    def open(self, cache: str, storage: FaultyStorage | None = None) -> Repository:
        """The repository with an index cache of its own."""
        return Repository.open_with(storage or self.storage, self.secrets, cache=self.folder / cache)

    def is_writing(self) -> bool:
        """Whether a backup is under way."""
        return any(writer.session is not None for writer in self.writers)

    # Backups

    @rule(which=st.sampled_from(WRITERS), contents=CONTENTS)
    def back_up(self, which: int, contents: set[int]) -> None:
        """A whole backup that nothing disturbs; one that is under way is ended first."""
        self.commit(which)
        self.begin(which)
        self.write(which, contents)
        self.commit(which)

    @rule(which=st.sampled_from(WRITERS))
    def begin(self, which: int) -> None:
        """A backup begins, and takes over what it stored last if its last restore point is still there."""
        writer = self.writers[which]
        if writer.session is not None:
            return
        writer.session = writer.repository.begin("backup", writer.name, workers=1, clock=lambda: self.now)
        writer.entries, writer.needs = {}, set()
        points = {point.id for point in writer.repository.points()}
        if writer.base is not None and writer.base[0].id in points:
            point, needs = writer.base
            totals = point.manifest.totals
            writer.entries[b"base"] = _entry(b"base", 0o40755, page=point.manifest.root, totals=totals)
            writer.needs = set(needs)

    @precondition(lambda self: self.is_writing())
    @rule(which=st.sampled_from(WRITERS), contents=CONTENTS)
    def write(self, which: int, contents: set[int]) -> None:
        """It stores some blobs."""
        writer = self.writers[which]
        if writer.session is None:
            return
        for content in contents:
            data = b"%d." % content * 400
            blob = writer.session.put(BlobKind.DATA, data)
            name = b"f%02d" % content
            writer.entries[name] = _entry(name, 0o100644, chunks=(Chunk(len(data), blob),))
            writer.needs.add(blob[:PREFIX])

    def checkpoint(self, which: int) -> None:
        """It makes a checkpoint."""
        if (session := self.writers[which].session) is not None:
            session.checkpoint()

    def keep_alive(self, which: int) -> None:
        """It renews its lease if it is time."""
        if (session := self.writers[which].session) is not None:
            session.keep_alive()

    def forget_base(self, which: int) -> None:
        """It lost its scan state."""
        self.writers[which].base = None

    def crash(self, which: int) -> None:
        """Its process dies."""
        writer = self.writers[which]
        if writer.session is not None:
            writer.session.close()
            writer.session = None

    def abandon(self, which: int) -> None:
        """It is cancelled."""
        writer = self.writers[which]
        if writer.session is not None:
            writer.session.abandon()
            self.crash(which)

    @precondition(lambda self: self.is_writing())
    @rule(
        which=st.sampled_from(WRITERS),
        what=st.sampled_from(["checkpoint", "keep_alive", "crash", "abandon", "forget_base"]),
    )
    def something_else(self, which: int, what: str) -> None:
        """A checkpoint, a renewal, a crash, a cancellation, a lost scan state."""
        getattr(self, what)(which)

    @precondition(lambda self: self.is_writing())
    @rule(which=st.sampled_from(WRITERS))
    def commit(self, which: int) -> None:
        """It commits: what it reports from here on must stay."""
        writer = self.writers[which]
        session = writer.session
        if session is None:
            return
        needs = set(writer.needs)

        def put(kind: BlobKind, data: bytes, references: bytes = b"") -> bytes:
            blob = session.put(kind, data, references)
            needs.add(blob[:PREFIX])
            return blob

        root = put_entries([entry for _, entry in sorted(writer.entries.items())], put)
        manifest = msgspec.structs.replace(
            _MANIFEST,
            repository=self.secrets.repository_id,
            file_server=writer.name,
            sequence=writer.sequence + 1,
            previous=writer.previous,
            session=session.id,
            time_ns=int(self.now * 1e9),
            root=root,
        )
        tree = set(needs)
        details = put_details(Details(1, manifest, [], "", [], []), put)
        try:
            point = session.commit(msgspec.structs.replace(manifest, details=details))
        except RepositoryError:
            assert session.marker.has_ended() or not self.storage.exists(
                f"sessions/{session.id.hex()}/begin"
            ), "a session that nobody gave up could not commit"
        else:
            self.reported[point.id] = needs
            writer.base, writer.sequence, writer.previous = (point, tree), writer.sequence + 1, point.id
        self.crash(which)

    # Maintenance

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def _expire(self, keep: int) -> Callable[[list[RestorePoint]], list[RestorePoint]]:
        def expire(points: list[RestorePoint]) -> list[RestorePoint]:
            gone = points[: len(points) - keep] if keep < len(points) else []
            self.expired.update(point.id for point in gone)
            return gone

        return expire

    @rule(keep=st.integers(0, 3), grace=st.sampled_from([0.0, 0.0, DAY]), unused=st.sampled_from([0.0, 0.5]))
    def prune(self, keep: int, grace: float, unused: float) -> None:
        """A prune that nothing disturbs."""
        run_prune(self.open("cache-prune"), self._expire(keep), grace_seconds=grace, most_unused=unused)

    @precondition(lambda self: self.is_writing())
    @rule(
        keep=st.integers(0, 3),
        grace=st.sampled_from([0.0, DAY]),
        number=st.integers(1, 60),
        acts=st.lists(
            st.tuples(
                st.sampled_from(["begin", "write", "checkpoint", "commit", "crash", "abandon", "wait"]),
                st.sampled_from(WRITERS),
                CONTENTS,
                WAITS,
            ),
            max_size=5,
        ),
        dies=st.booleans(),
        rebuilds=st.booleans(),
    )
    def disturbed(
        self,
        keep: int,
        grace: float,
        number: int,
        acts: list[tuple[str, int, set[int], float]],
        dies: bool,
        rebuilds: bool,
    ) -> None:
        """A prune or rebuild in whose midst backups begin, write, commit, crash; or which dies there."""

        def meanwhile() -> None:
            for what, which, contents, seconds in acts:
                if what == "write":
                    self.write(which, contents)
                elif what == "wait":
                    # More would make the collector itself a sleeper: its lease ends.
                    self.now += min(seconds, 600.0)
                else:
                    getattr(self, what)(which)

        storage = Interrupted(self.storage, number, meanwhile, dies=dies)
        with suppress(Died):
            if rebuilds:
                run_rebuild(self.open("cache-prune", storage))
            else:
                run_prune(
                    self.open("cache-prune", storage),
                    self._expire(keep),
                    grace_seconds=grace,
                    most_unused=0.0,
                )

    @precondition(lambda self: not self.is_writing())
    @rule()
    def rebuild(self) -> None:
        """A rebuild that nothing disturbs."""
        run_rebuild(self.open("cache-prune"))

    # What must hold

    @invariant()
    def nothing_needed_is_gone(self) -> None:
        """Every blob of every reported restore point lies in a pack that is there and indexed."""
        repository = self.open("cache-judge")
        points = {point.id for point in repository.points()}
        assert self.reported.keys() - self.expired <= points, "a restore point is gone"
        index = repository.load_index()
        held: dict[bytes, set[bytes]] = {}
        for point in self.reported.keys() & points:
            for prefix in self.reported[point]:
                packs = [location.pack for location in index.locations(prefix + bytes(16))]
                for pack in packs:
                    if pack not in held:
                        held[pack] = self._blobs_in(pack)
                assert any(prefix in held[pack] for pack in packs), "a needed blob is gone"

    def _blobs_in(self, pack: bytes) -> set[bytes]:
        if not self.storage.exists(pack_name(pack)):
            return set()
        trailer = read_trailer(self.storage, pack_name(pack), self.secrets.catalogue_key)
        return {blob.id[:PREFIX] for blob in trailer.blobs()}

    def teardown(self) -> None:
        """When all have gone home, every restore point reads back, and only what is needed remains."""
        try:
            for which in WRITERS:
                self.crash(which)
            self.now += 3 * DAY
            for _ in range(4):
                run_prune(self.open("cache-prune"), lambda points: [], grace_seconds=0, most_unused=0.0)
            repository = self.open("cache-end")
            outcome = run_verify(repository, data_percent=100)
            assert outcome.intact, [str(damage) for damage in outcome.damages]
            needed = needed_blobs(repository, repository.points())
            stored = [
                prefix
                for info in self.storage.list("packs/")
                for prefix in self._blobs_in(bytes.fromhex(info.name[-64:]))
            ]
            assert sorted(stored) == sorted(needed)
        finally:
            self.sizes.__exit__(None, None, None)
            shutil.rmtree(self.folder)


def _entry(
    name: bytes,
    mode: int,
    *,
    chunks: tuple[Chunk, ...] | None = None,
    page: bytes | None = None,
    totals: Totals | None = None,
) -> Entry:
    size = sum(chunk.length for chunk in chunks or ())
    return Entry(name, mode, 0, 0, size, 0, 0, 1, 1, chunks=chunks, page=page, totals=totals)


_MANIFEST = Manifest(
    version=1,
    repository=bytes(16),
    file_server="",
    backup_set="default",
    sequence=1,
    previous=b"",
    session=bytes(16),
    time_ns=time.time_ns(),
    type="full",
    root=bytes(32),
    details=b"",
    totals=Totals(),
    problems=0,
    read_bytes=0,
    new_bytes=0,
    stored_bytes=0,
    software="0",
)

TestGarbageCollection = GarbageCollection.TestCase
TestGarbageCollection.settings = settings(
    max_examples=30, stateful_step_count=35, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_base_expires_under_a_backup() -> None:
    """What a backup builds upon stays, though condemned before the backup began, and expired since."""
    state = GarbageCollection()
    state.back_up(which=0, contents={1, 2})
    state.begin(which=0)
    state.prune(keep=0, grace=DAY, unused=0.0)
    state.wait(seconds=0.6 * DAY)
    state.commit(which=0)
    state.begin(which=0)
    state.prune(keep=0, grace=0.0, unused=0.0)
    state.wait(seconds=0.6 * DAY)
    state.prune(keep=0, grace=DAY, unused=0.0)
    state.commit(which=0)
    state.nothing_needed_is_gone()
    state.teardown()
