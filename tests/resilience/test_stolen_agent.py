"""A stolen file server reads nothing, deletes nothing, and puts nothing that anybody else relies upon."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.resilience.thief import Thief, only_file

from backstay.domain.errors import BackstayError, Forbidden, NotSignedIn, ObjectNotFound
from backstay.repository.layout import INDEX, MANIFESTS, PACKS
from backstay.repository.manifest import Manifest
from backstay.repository.pack import read_trailer
from backstay.server import fleet
from backstay.server.access import SYSTEM
from backstay.server.tables import PackRow, RestorePointRow, WriterSession
from backstay.testing.fleet_rig import Agent, FleetRig, same_tree, until


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetRig]:
    """A server of its own, with little in its repository: all of that is tried to be taken."""
    with FleetRig(tmp_path_factory.mktemp("taken")) as rig:
        yield rig


@pytest.fixture(scope="module")
def victim(rig: FleetRig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Another file server, with backups in the same repository."""
    agent = rig.started("victim")
    rig.until_connected(agent)
    folder = only_file(tmp_path_factory.mktemp("victim") / "data", os.urandom(3 << 20))
    assert rig.ended(rig.back_up(rig.set_of(agent, [folder]))).state == "succeeded"
    yield agent
    agent.end()


@pytest.fixture(scope="module")
def point(rig: FleetRig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Agent, str]:
    """The stolen file server, and the restore point that it has."""
    agent = rig.started("stolen")
    rig.until_connected(agent)
    folder = only_file(tmp_path_factory.mktemp("stolen") / "data", os.urandom(1 << 20))
    job = rig.ended(rig.back_up(rig.set_of(agent, [folder])))
    agent.stop()
    assert job.restore_point_id is not None
    return agent, job.restore_point_id


@pytest.fixture
def thief(rig: FleetRig, victim: Agent, point: tuple[Agent, str]) -> Iterator[Thief]:
    """Whoever stole it, with a backup to make."""
    thief = Thief(rig, point[0])
    thief.ticket(rig.back_up(rig.set_of(point[0], [Path("/nowhere")])))
    yield thief
    thief.give_back()


def own(thief: Thief) -> Manifest:
    """The manifest of the stolen file server's latest restore point."""
    points = thief.rig.repository().points()
    mine = [one.manifest for one in points if one.manifest.file_server == "stolen"]
    return max(mine, key=lambda one: one.sequence)


def test_it_reads_nothing(thief: Thief) -> None:
    """No pack, key slot, index run, marker or manifest of anybody is given to a backup's job."""
    repository = thief.rig.repository()
    names = [
        info.name
        for folder in (PACKS, INDEX, "keys/", "sessions/")
        for info in repository.storage.list(folder)
    ]
    with thief.rig.control.database.read() as db:
        mine = {row.id for row in db.query(RestorePointRow) if row.file_server.name == "stolen"}
        sessions = {
            row.id for row in db.query(WriterSession).filter_by(file_server_id=thief.settings.file_server_id)
        }
    names += [info.name for info in repository.storage.list(MANIFESTS) if info.name.split("/")[1] not in mine]
    assert len({name.split("/")[0] for name in names}) >= 4
    for name in names:
        if name.startswith("sessions/") and name.split("/")[1] in sessions:
            continue
        for look in (thief.storage.get, thief.storage.size):
            with pytest.raises((Forbidden, ObjectNotFound)):
                look(name)
                pytest.fail(name)
    assert set(thief.storage.contents(MANIFESTS)) == {f"{MANIFESTS}{one}" for one in mine}
    assert list(thief.storage.list(PACKS)) == []
    for prefix in (INDEX, PACKS, "sessions/", "keys/", ""):
        with pytest.raises(BackstayError):
            thief.storage.contents(prefix)
    with pytest.raises(Forbidden):
        thief.storage.data_key(
            next(name for name in names if name.startswith(PACKS)).rpartition("/")[2], b"x"
        )


def test_it_deletes_and_overwrites_nothing(thief: Thief) -> None:
    """There is no way to delete, and a name that is taken keeps its bytes."""
    storage = thief.rig.repository().storage
    before = {info.name: storage.get(info.name) for info in storage.list("")}
    for name, content in before.items():
        assert thief.raw("DELETE", f"storage/objects/{name}").status_code == 405
        assert thief.raw("PUT", f"storage/objects/{name}", content + b"x").status_code >= 400
    assert {info.name: storage.get(info.name) for info in storage.list("")} == before


@pytest.mark.parametrize(
    "name",
    [
        "config",
        "keys/ab",
        "tombstones/ab",
        "maintenance/x",
        "expiries/ab",
        "../server.key",
        "packs/../../server.key",
        "packs/%2e%2e/%2e%2e/server.key",
        "/etc/passwd",
        "packs//x",
        "packs/.aside-x",
        "packs/ab/cd\0",
        "sessions/x/begin",
        "sessions/" + "a" * 32 + "/renewed-0",
        "sessions/" + "a" * 32 + "/other",
        "packs/" + "a" * 300,
        "",
    ],
)
def test_names_that_are_none_of_its(thief: Thief, name: str) -> None:
    """Whatever else there is in a repository or beside it, its agent cannot make."""
    storage = thief.rig.repository().storage
    before = sorted(info.name for info in storage.list(""))
    answer = thief.raw("PUT", f"storage/objects/{name.replace(chr(0), '%00')}", b"content")
    assert 400 <= answer.status_code < 500 or answer.json()["error"] in {"StorageError", "DamagedObject"}
    assert sorted(info.name for info in storage.list("")) == before


def test_packs_are_what_they_say(thief: Thief) -> None:
    """A pack under another name, of a foreign session, without a trailer, or too long is refused."""
    session = thief.begin()
    name, content = thief.pack(session, {os.urandom(32): b"content"})
    wrong = f"packs/aa/{'a' * 64}"
    for where in (wrong, name.replace("packs/", "packs/0"), f"index/{name[-64:]}", f"manifests/{name[-64:]}"):
        assert thief.raw("PUT", f"storage/objects/{where}", content).status_code >= 400
    assert thief.raw("PUT", f"storage/objects/{name}", content[:-1]).status_code >= 400
    with thief.rig.control.database.read() as db:
        foreign = db.query(WriterSession).filter(
            WriterSession.file_server_id != thief.settings.file_server_id
        )
        theirs = bytes.fromhex(foreign.first().id)
    for other in (theirs, os.urandom(16)):
        with pytest.raises(Forbidden):
            other_name, other_content = thief.pack(other, {os.urandom(32): b"content"})
            thief.storage.put(other_name, [other_content])
    for _ in range(2):
        thief.storage.put(name, [content])
    assert name[-64:] in thief.rig.packs()


def test_markers_are_its_own(thief: Thief) -> None:
    """No session of another, no collector, and none under another's id can be begun, renewed or ended."""
    with thief.rig.control.database.read() as db:
        foreign = db.query(WriterSession).filter(
            WriterSession.file_server_id != thief.settings.file_server_id
        )
        theirs = foreign.first().id
    for name in ("end", "renewed-7"):
        with pytest.raises(Forbidden):
            thief.storage.put(f"sessions/{theirs}/{name}", [b"revoked"])
    for kind in ("prune", "rebuild", ""):
        with pytest.raises(Forbidden):
            thief.begin(kind)
    with pytest.raises(BackstayError):
        thief.begin(session=bytes.fromhex(theirs))
    mine = thief.begin()
    thief.storage.put(f"sessions/{mine.hex()}/end", [b"abandoned"])


def test_index_runs_say_what_trailers_say(thief: Thief) -> None:
    """A run that names another's pack, or says anything of its own pack that is not so, is refused."""
    session = thief.begin()
    name, content = thief.pack(session, {os.urandom(32): b"content"})
    honest = thief.run
    with pytest.raises(Forbidden):
        thief.storage.put(*_listed(thief.sealed_run(honest)))
    thief.storage.put(name, [content])
    lie, _ = thief.pack(session, {os.urandom(32): b"content"})
    for encoded in (thief.run, honest[:-1] + bytes([honest[-1] ^ 1]), honest + b"\0", b"", os.urandom(500)):
        answer = thief.raw(
            "PUT", f"storage/objects/{thief.sealed_run(encoded)[0]}", thief.sealed_run(encoded)[1]
        )
        assert answer.status_code >= 400
    theirs = next(digest for digest in thief.rig.packs() if digest not in {name[-64:], lie[-64:]})
    stolen = honest.replace(bytes.fromhex(name[-64:]), bytes.fromhex(theirs))
    sealed_name, sealed = thief.sealed_run(stolen)
    assert thief.raw("PUT", f"storage/objects/{sealed_name}", sealed).status_code >= 400
    runs = {info.name for info in thief.rig.repository().storage.list(INDEX)}
    thief.storage.put(*_listed(thief.sealed_run(honest)))
    assert len({info.name for info in thief.rig.repository().storage.list(INDEX)} - runs) == 1


def _listed(named: tuple[str, bytes]) -> tuple[str, list[bytes]]:
    return named[0], [named[1]]


def test_manifests_are_of_its_job(thief: Thief, point: tuple[Agent, str]) -> None:
    """A restore point of another server, set, repository, session, time or place in the chain is refused."""
    session = thief.begin()
    like = own(thief)
    next_one = {
        "session": session,
        "time_ns": time.time_ns(),
        "previous": bytes.fromhex(point[1]),
        "sequence": like.sequence + 1,
        "type": "incremental",
    }
    hour = 3_600_000_000_000
    wrong = [
        {"file_server": "victim"},
        {"backup_set": "another"},
        {"repository": os.urandom(16)},
        {"session": like.session},
        {"session": os.urandom(16)},
        {"time_ns": time.time_ns() + hour},
        {"time_ns": time.time_ns() - hour},
        {"time_ns": (1 << 63) - 1},
        {"time_ns": -(1 << 62)},
        {"previous": b""},
        {"previous": os.urandom(32)},
        {"sequence": like.sequence + 2},
        {"sequence": (1 << 63) - 1},
        {"type": "x" * 100},
        {"new_bytes": (1 << 64) - 1},
    ]
    before = {info.name for info in thief.rig.repository().storage.list(MANIFESTS)}
    for change in wrong:
        name, sealed = thief.sealed_manifest(like, **next_one | change)
        answer = thief.raw("PUT", f"storage/objects/{name}", sealed)
        assert answer.status_code == 403, (change, answer.text)
    thief.storage.put(f"sessions/{session.hex()}/end", [b"revoked"])
    name, sealed = thief.sealed_manifest(like, **next_one)
    answer = thief.raw("PUT", f"storage/objects/{name}", sealed)
    assert (answer.status_code, "session has ended" in answer.json()["detail"]) == (403, True)
    assert {info.name for info in thief.rig.repository().storage.list(MANIFESTS)} == before


def test_jobs_are_its_own(rig: FleetRig, victim: Agent, thief: Thief) -> None:
    """The number of a job that is over, of another's, or of no job opens nothing and tells nothing."""
    theirs = next(job for job in rig.jobs() if job.file_server_id == rig.file_server(victim).id)
    over = next(job for job in rig.jobs() if job.file_server_id == thief.settings.file_server_id)
    claims = [
        f"{theirs.id}:{theirs.lease_epoch}",
        f"{over.id}:{over.lease_epoch}",
        f"{thief.job}:{thief.epoch + 1}",
        f"{thief.job}:{thief.epoch - 1}",
        "99999:1",
        "9" * 30 + ":1",
        "",
        ":",
        f"{thief.job}",
    ]
    for claim in claims:
        answer = thief.raw("GET", f"storage/list/{MANIFESTS}", job=claim)
        assert answer.status_code in {401, 403, 404}, claim
    messages = rig.messages(theirs.id)
    for instance in (thief.instance, "somebody else"):
        for what, body in (("outcome", b'{"epoch":1,"state":"succeeded"}'), ("report", b'{"epoch":1}')):
            headers = {"content-type": "application/json", "x-backstay-instance": instance}
            answer = thief.raw("POST", f"jobs/{theirs.id}/{what}", body, headers)
            assert answer.status_code == 404
    assert rig.messages(theirs.id) == messages


def test_it_is_no_administrator(thief: Thief) -> None:
    """An agent's credential opens nothing of the REST API: it orders no restore, and lists nothing."""
    headers = {"authorization": f"Agent {thief.settings.file_server_id}:{thief.settings.secret}"}
    bearer = {"authorization": f"Bearer {thief.settings.secret}"}
    for path in ("file-servers", "restore-points", "jobs", "backup-sets"):
        for claim in (headers, bearer):
            assert httpx.get(f"{thief.settings.url}/api/v1/{path}", headers=claim).status_code == 401


def test_a_restore_reads_what_it_needs(
    rig: FleetRig, point: tuple[Agent, str], victim: Agent, tmp_path: Path
) -> None:
    """A restore's job is given packs and data keys of its point, and of no other; it stores nothing."""
    thief = Thief(rig, point[0])
    thief.ticket(rig.restore(point[0], point[1], tmp_path))
    repository = rig.repository()
    with rig.control.database.read() as db:
        rows = {row.digest: row.file_server_id for row in db.query(PackRow)}
    given = 0
    for info in repository.storage.list(PACKS):
        digest = info.name[-64:]
        trailer = read_trailer(repository.storage, info.name, repository.secrets.catalogue_key)
        try:
            thief.storage.get(info.name)
        except Forbidden:
            with pytest.raises(Forbidden):
                thief.storage.data_key(digest, trailer.keys[0])
            continue
        given += 1
        assert rows[digest] == thief.settings.file_server_id
        assert len(thief.storage.data_key(digest, trailer.keys[0])) == 32
        with pytest.raises(Forbidden):
            thief.storage.data_key(digest, os.urandom(len(trailer.keys[0])))
    assert given > 0
    for prefix in (MANIFESTS, "sessions/", PACKS, "keys/"):
        with pytest.raises(Forbidden):
            list(thief.storage.list(prefix))
    with pytest.raises(Forbidden):
        thief.storage.stored([os.urandom(32)])
    with pytest.raises(Forbidden):
        thief.begin()
    thief.give_back()
    with pytest.raises((Forbidden, BackstayError)):
        until("what is remembered of the job to be forgotten", lambda: _refused(thief), 15)
        thief.storage.get(next(iter(repository.storage.list(PACKS))).name)


def _refused(thief: Thief) -> bool:
    try:
        thief.storage.size("config")
    except Forbidden:
        return True
    return False


def test_poison_reaches_nobody(rig: FleetRig, thief: Thief, victim: Agent, tmp_path: Path) -> None:
    """A blob that is not what its id says is relied upon by nobody else; their backups stay right."""
    content = os.urandom(200_000)
    blob_id = rig.repository().blob_id(content)
    name, pack = thief.pack(thief.begin(), {blob_id: b"poison"})
    thief.storage.put(name, [pack])
    thief.storage.put(*_listed(thief.sealed_run(thief.run)))
    folder = only_file(tmp_path / "data", content)
    job = rig.ended(rig.back_up(rig.set_of(victim, [folder], name="poisoned")))
    assert job.state == "succeeded"
    assert job.figures["new_bytes"] >= len(content)
    restored = rig.ended(rig.restore(victim, str(job.restore_point_id), tmp_path / "restored"))
    assert (restored.state, restored.reason) == ("succeeded", "")
    assert same_tree(folder, tmp_path / "restored" / folder.relative_to("/")) == ""

    def is_found_out() -> bool:
        with rig.control.database.read() as db:
            return any(row.damaged for row in db.query(PackRow).filter_by(digest=name[-64:]))

    until("the pack to be found out", is_found_out, 90)


def test_a_revoked_agent_is_out(rig: FleetRig, tmp_path: Path) -> None:
    """From the moment it is revoked it commits nothing and is given no key; soon its job is aborted."""
    agent = rig.started("revoked")
    rig.until_connected(agent)
    set_id = rig.set_of(agent, [only_file(tmp_path / "data", os.urandom(9000))])
    first = rig.ended(rig.back_up(set_id))
    agent.stop()
    thief = Thief(rig, agent)
    number = rig.back_up(set_id)
    thief.ticket(number)
    session = thief.begin()
    [like] = [one.manifest for one in rig.repository().points() if one.manifest.file_server == "revoked"]
    name, sealed = thief.sealed_manifest(
        like,
        session=session,
        time_ns=time.time_ns(),
        previous=bytes.fromhex(str(first.restore_point_id)),
        sequence=2,
        type="incremental",
    )
    with rig.control.database.begin() as db:
        fleet.revoke_agent(db, SYSTEM, thief.settings.file_server_id, now=rig.control.clock())
    assert thief.raw("PUT", f"storage/objects/{name}", sealed).status_code == 401
    assert thief.raw("PUT", f"storage/objects/sessions/{session.hex()}/end", b"x").status_code == 401
    with pytest.raises(NotSignedIn):
        thief.greet(room=1)
    agent.start()
    assert agent.running.wait() == 1
    assert "credential does not hold" in agent.said()
