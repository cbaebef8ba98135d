"""Nothing that is held ever expires, whatever meets whatever."""

import threading
from datetime import timedelta
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select
from tests.server.conftest import MovableClock
from tests.server.upkeep_rig import repository_id_of

from backstay.domain.errors import BackstayError, Conflict
from backstay.server import retention
from backstay.server.access import SYSTEM
from backstay.server.control import Control
from backstay.server.tables import BackupSetRow, FileServer, RestorePointRow

_FIGURES = ("files", "folders", "bytes", "read_bytes", "new_bytes", "stored_bytes")
_WHAT = ["hold", "release", "expire", "delete", "day"]
_numbers = iter(range(10**9))


def _points(control: Control, ages: list[int]) -> list[str]:
    """A set that keeps three days and two weeks, with a point for each age in days."""
    now, repository_id = control.clock(), repository_id_of(control)
    with control.database.begin() as db:
        server = FileServer(name=f"fs{next(_numbers)}", created_at=now)
        db.add(server)
        db.flush()
        values = {"retention": {"keep_days": 3, "weekly": 2}}
        row = BackupSetRow(
            file_server_id=server.id,
            repository_id=repository_id,
            name="data",
            paths=["/data"],
            policy_layer=values,
            created_at=now,
            updated_at=now,
        )
        db.add(row)
        db.flush()
        ids = [f"{next(_numbers):064x}" for _ in ages]
        for number, (point_id, age) in enumerate(zip(ids, ages, strict=True)):
            at = now - timedelta(days=age)
            figures = dict.fromkeys(
                ("files", "folders", "bytes", "read_bytes", "new_bytes", "stored_bytes"), 1
            )
            db.add(
                RestorePointRow(
                    id=point_id,
                    repository_id=repository_id,
                    file_server_id=server.id,
                    backup_set_id=row.id,
                    sequence=number,
                    type="full",
                    committed_at=at,
                    manifest_time=at,
                    problems=number % 2,
                    **figures,
                )
            )
    return ids


def _state(control: Control, ids: list[str]) -> dict[str, tuple[bool, bool]]:
    """For each point whether it is held, and whether it has expired."""
    with control.database.read() as db:
        rows = db.scalars(select(RestorePointRow).where(RestorePointRow.id.in_(ids))).all()
        return {row.id: (bool(row.held_by), row.expired_at is not None) for row in rows}


_operations = st.lists(
    st.tuples(st.sampled_from(_WHAT), st.integers(0, 11)),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages=st.lists(st.integers(0, 60), min_size=12, max_size=12), operations=_operations)
def test_what_is_held_stays_in_any_order_of_events(
    control: Control, clock: MovableClock, ages: list[int], operations: list[tuple[str, int]]
) -> None:
    """Holding, releasing, deleting and expiring in any order: no held point is marked, no marked one held."""
    ids = _points(control, ages)
    taken: set[str] = set()
    for what, number in operations:
        try:
            with control.database.begin() as db:
                if what == "hold":
                    retention.hold(db, SYSTEM, ids[number], "why", now=clock())
                elif what == "release":
                    retention.release(db, SYSTEM, ids[number], "why", now=clock())
                elif what == "delete":
                    retention.delete_point(db, SYSTEM, ids[number], "why", now=clock())
                elif what == "expire":
                    present = set(ids) - taken
                    would = set(retention.would_expire(db, repository_id_of(control), present, clock()))
                    taking = set(retention.expire(db, repository_id_of(control), present, clock()))
                    assert taking == would
                    taken |= taking
                else:
                    clock.forward(days=1)
        except BackstayError:
            pass
        state = _state(control, ids)
        assert not any(held and expired for held, expired in state.values())
        assert taken <= {point for point, (_, expired) in state.items() if expired}


def test_a_hold_between_plan_and_execution_wins(control: Control, clock: MovableClock) -> None:
    """Somebody holds a point after the plan chose it and before it is marked: it stays."""
    (newest, *old) = _points(control, [0, 30, 31, 60])
    seen: list[str] = []

    def hold_first(connection, cursor, statement, *_) -> None:  # type: ignore[no-untyped-def]
        if statement.startswith("UPDATE restore_points") and not seen:
            seen.append(statement)
            thread = threading.Thread(target=hold)
            thread.start()
            # On SQLite writers take turns: the hold waits, and is then refused.
            thread.join(2.0 if not control.database.is_sqlite else 0.1)

    outcome: list[object] = []

    def hold() -> None:
        try:
            with control.database.begin() as db:
                outcome.append(retention.hold(db, SYSTEM, old[-1], "now", now=clock()).id)
        except Conflict as error:
            outcome.append(error)

    event.listen(control.database.engine, "before_cursor_execute", hold_first)
    with control.database.begin() as db:
        taken = retention.expire(db, repository_id_of(control), [newest, *old], clock())
    event.remove(control.database.engine, "before_cursor_execute", hold_first)
    for _ in range(100):
        if outcome:
            break
        threading.Event().wait(0.05)
    assert seen
    if control.database.is_sqlite:
        assert isinstance(outcome[0], Conflict)
        assert old[-1] in taken
    else:
        assert outcome == [old[-1]]
        assert old[-1] not in taken


def test_many_holds_and_expiries_at_once(control: Control, clock: MovableClock) -> None:
    """Threads that hold and threads that expire: each point is held or taken, never both."""
    ids = _points(control, [*range(60)])
    held: list[str] = []
    taken: list[str] = []
    begin = threading.Barrier(4)

    def hold(seed: int) -> None:
        order = Random(seed).sample(ids, len(ids))
        begin.wait()
        for point in order[:30]:
            try:
                with control.database.begin() as db:
                    retention.hold(db, SYSTEM, point, "mine", now=clock())
                held.append(point)
            except Conflict:
                continue

    def expire() -> None:
        begin.wait()
        with control.database.begin() as db:
            found = retention.expire(db, repository_id_of(control), ids, clock())
        taken.extend(found)

    threads = [threading.Thread(target=hold, args=(seed,)) for seed in (1, 2)]
    threads += [threading.Thread(target=expire) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken
    assert not set(held) & set(taken)
