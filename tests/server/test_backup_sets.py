"""Backup sets, policies and content rules through the API."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock, token_for
from tests.server.fleet_of_agents import Fleet

from backstay.server.access import Role
from backstay.server.control import Control

NIGHTLY = {"schedules": [{"rule": "0 22 * * *"}], "window": {"starts": "21:00", "seconds": 8 * 3600}}


@pytest.fixture
def fleet(client: TestClient) -> Fleet:
    """File servers with agents."""
    return Fleet(client)


def _audit(control: Control) -> list[tuple[str, Any, Any]]:
    from sqlalchemy import select

    from backstay.server.tables import AuditEntry

    with control.database.read() as db:
        return [(row.action, row.before, row.after) for row in db.scalars(select(AuditEntry))]


def test_a_set_says_of_each_value_who_set_it(client: TestClient, fleet: Fleet) -> None:
    """Of each value of the resolved policy it is said whether policy, file server or set gave it."""
    agent = fleet.agent("fs1")
    policy = client.post("/api/v1/policies", json={"name": "nightly", "values": NIGHTLY}).json()
    answer = client.put(f"/api/v1/file-servers/{agent.file_server_id}/policy", json={"retries": {"count": 7}})
    assert answer.status_code == 200
    made = fleet.backup_set(agent, policy_id=policy["id"], policy_layer={"allow_live_scan": False})
    seen = client.get(f"/api/v1/backup-sets/{made['id']}").json()
    origins = seen["resolved_policy"]["origins"]
    assert origins["schedules"] == origins["window"] == "policy nightly"
    assert origins["retries"] == "file server fs1"
    assert origins["allow_live_scan"] == "backup set home"
    assert origins["retention"] == "built-in"
    assert seen["resolved_policy"]["values"]["retries"]["count"] == 7
    assert seen["next_runs"][:2] == ["2026-11-25T22:00:00Z", "2026-11-26T22:00:00Z"]


def test_changes_are_in_the_audit_log_with_old_and_new_value(
    client: TestClient, fleet: Fleet, control: Control
) -> None:
    """Each change leaves one entry with exactly the values that differ; a change of nothing leaves none."""
    made = fleet.backup_set(fleet.agent("fs1"), paths=["/srv"])
    url = f"/api/v1/backup-sets/{made['id']}"
    before = len(_audit(control))
    assert client.patch(url, json={"paths": ["/srv/", "//srv"]}).json()["paths"] == ["/srv"]
    assert len(_audit(control)) == before
    client.patch(url, json={"paths": ["/srv", "/home"], "cross_mounts": True})
    assert _audit(control)[before:] == [
        (
            "backup_set.change",
            {"paths": ["/srv"], "cross_mounts": False},
            {"paths": ["/srv", "/home"], "cross_mounts": True},
        )
    ]


def test_a_policy_in_use_is_not_removed(client: TestClient, fleet: Fleet) -> None:
    """Its removal is refused and names who uses it; once nobody does, it goes."""
    policy = client.post("/api/v1/policies", json={"name": "nightly", "values": NIGHTLY}).json()
    made = fleet.backup_set(fleet.agent("fs1"), policy_id=policy["id"])
    url = f"/api/v1/policies/{policy['id']}"
    refused = client.delete(url)
    assert refused.status_code == 409
    assert "fs1/home" in refused.json()["detail"]
    assert client.get(url).json()["uses"] == [{"id": made["id"], "name": "home", "file_server": "fs1"}]
    client.patch(f"/api/v1/backup-sets/{made['id']}", json={"policy_id": None})
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_a_rule_that_cannot_be_understood_names_its_lines(client: TestClient) -> None:
    """Every wrong line of a content rule is named by its number, and nothing is kept."""
    answer = client.post(
        "/api/v1/content-rules", json={"name": "r", "text": "*.tmp\n[size > x] a\n\n[age > y] b\n"}
    )
    assert answer.status_code == 422
    assert "line 2" in answer.json()["detail"]
    assert "line 4" in answer.json()["detail"]
    assert client.get("/api/v1/content-rules").json()["total"] == 0


def test_a_removed_set_keeps_its_name_and_comes_back(client: TestClient, fleet: Fleet) -> None:
    """Removing cancels what is open; a set made anew under the name is the same set."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    job = client.post(f"/api/v1/backup-sets/{made['id']}/backup").json()
    assert job["state"] == "queued"
    assert client.delete(f"/api/v1/backup-sets/{made['id']}").status_code == 204
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert client.get("/api/v1/backup-sets").json()["total"] == 0
    assert fleet.backup_set(agent, paths=["/other"])["id"] == made["id"]


def test_sets_are_paged_by_file_server_and_name(client: TestClient, fleet: Fleet) -> None:
    """Pages follow each other without gap or repetition, and filters hold."""
    for name in ("fs2", "fs1"):
        agent = fleet.agent(name)
        for number in range(3):
            fleet.backup_set(agent, name=f"s{number}")
    seen: list[tuple[str, str]] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("/api/v1/backup-sets", params={"limit": 4, **after}).json()
        seen += [(one["file_server"]["name"], one["name"]) for one in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == [(fs, f"s{n}") for fs in ("fs1", "fs2") for n in range(3)]
    found = client.get("/api/v1/backup-sets", params={"file_server": "fs2", "name": "s1"}).json()
    assert [one["name"] for one in found["items"]] == ["s1"]


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"paths": []}, "paths"),
    ({"paths": ["srv"]}, "absolute"),
    ({"paths": ["/srv/../etc"]}, ".."),
    ({"paths": ["C:\\Data"]}, "Linux"),
    ({"paths": ["/a\0b"]}, "cannot be a path"),
    ({"name": "a/b"}, "name"),
    ({"name": "12"}, "name"),
    ({"policy_layer": {"schedules": [{"rule": "61 * * * *"}]}}, "minute"),
    ({"policy_layer": {"window": {"time_zone": "Nowhere/City"}}}, "time zone"),
    ({"huh": 1}, "huh"),
]


def test_nonsense_is_refused_with_a_hint(client: TestClient, fleet: Fleet) -> None:
    """A set that makes no sense is answered with a problem document that says what is wrong with it."""
    agent = fleet.agent("fs1")
    for body, word in NONSENSE:
        new = {"file_server_id": agent.file_server_id, "name": "x", "paths": ["/srv"], **body}
        answer = client.post("/api/v1/backup-sets", json=new)
        assert answer.status_code == 422, answer.text
        assert word in answer.json()["detail"], body
        assert answer.json()["hint"]


def test_paths_that_are_no_text_survive(client: TestClient, fleet: Fleet) -> None:
    """A path whose bytes are not UTF-8 goes in and comes out as base64, and the agent gets its bytes."""
    import base64

    raw = b"/srv/caf\xe9"
    written = {"base64": base64.b64encode(raw).decode()}
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent, paths=[written, "/srv/ä"])
    assert made["paths"] == [written, "/srv/ä"]
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    ticket = agent.lease()
    assert ticket is not None
    assert base64.b64decode(ticket["paths"][0]) == raw


def test_roles_hold_for_sets_and_policies(client: TestClient, control: Control, fleet: Fleet) -> None:
    """Who may only look changes nothing; who may only restore starts no backup."""
    made = fleet.backup_set(fleet.agent("fs1"))
    for role in (Role.AUDITOR, Role.RESTORE_ONLY):
        client.headers["Authorization"] = f"Bearer {token_for(control, role)}"
        assert client.get(f"/api/v1/backup-sets/{made['id']}").status_code == 200
        assert client.patch(f"/api/v1/backup-sets/{made['id']}", json={"enabled": False}).status_code == 403
        assert client.post(f"/api/v1/backup-sets/{made['id']}/backup").status_code == 403
        assert client.post("/api/v1/policies", json={"name": "p"}).status_code == 403


def test_a_disabled_set_is_not_backed_up(client: TestClient, fleet: Fleet, clock: MovableClock) -> None:
    """Switched off, a set refuses requests by hand and has no next time; switched on, it has one again."""
    policy = client.post("/api/v1/policies", json={"name": "nightly", "values": NIGHTLY}).json()
    made = fleet.backup_set(fleet.agent("fs1"), policy_id=policy["id"])
    url = f"/api/v1/backup-sets/{made['id']}"
    assert client.post(f"{url}/disable").json()["next_run"] is None
    assert client.post(f"{url}/backup").status_code == 409
    assert client.post(f"{url}/enable").json()["next_run"] == "2026-11-25T22:00:00Z"
