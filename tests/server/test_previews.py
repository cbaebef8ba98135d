"""Previews: what drafts would do, and what nobody protects, through the API."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock
from tests.server.fleet_of_agents import Fleet

from backstay.server.control import Control
from backstay.server.tables import RestorePointRow


@pytest.fixture
def fleet(client: TestClient) -> Fleet:
    """File servers with agents."""
    return Fleet(client)


def test_the_next_runs_of_a_draft_are_shown_in_a_time_zone(client: TestClient) -> None:
    """The runs are those that ask for a backup, with the opening that they wait for, in local time."""
    values = {
        "schedules": [{"rule": "0 12 * * *", "time_zone": "Europe/Berlin"}],
        "window": {"starts": "22:00", "seconds": 3600, "time_zone": "Europe/Berlin"},
    }
    wanted = {"values": values, "time_zone": "America/New_York", "count": 3}
    runs = client.post("/api/v1/previews/runs", json=wanted).json()["items"]
    assert [run["local"] for run in runs] == [
        "2026-11-26 16:00 EST",
        "2026-11-27 16:00 EST",
        "2026-11-28 16:00 EST",
    ]
    assert runs[0]["scheduled_for"] == "2026-11-26T11:00:00Z"
    assert runs[0]["window_closes"] == "2026-11-26T22:00:00Z"
    assert client.post("/api/v1/previews/runs", json={"values": {}}).json()["items"] == []
    wrong = client.post("/api/v1/previews/runs", json={"values": values, "time_zone": "Nowhere"})
    assert wrong.status_code == 422


def test_a_retention_is_tried_on_real_points(
    control: Control, client: TestClient, fleet: Fleet, clock: MovableClock
) -> None:
    """Of each point it is said whether it stays and why; nothing is expired by looking."""
    made = fleet.backup_set(fleet.agent("fs1"))
    with control.database.begin() as db:
        for day in range(5):
            at = clock.now - timedelta(days=day)
            db.add(
                RestorePointRow(
                    id=f"{day:064x}",
                    repository_id=made["repository_id"],
                    file_server_id=made["file_server"]["id"],
                    backup_set_id=made["id"],
                    sequence=9 - day,
                    type="incremental",
                    committed_at=at,
                    manifest_time=at,
                    held_by="auditor" if day == 4 else "",
                    **dict.fromkeys(
                        ["files", "folders", "bytes", "read_bytes", "new_bytes", "stored_bytes", "problems"],
                        0,
                    ),
                )
            )
    wanted = {"backup_set_id": made["id"], "retention": {"daily": 2}}
    preview = client.post("/api/v1/previews/retention", json=wanted).json()
    assert [one["keep"] for one in preview["items"]] == [True, True, False, False, True]
    assert "on legal hold" in preview["items"][4]["reasons"]
    assert preview["items"][2]["reasons"]
    assert (preview["kept"], preview["expired"]) == (3, 2)
    listed = client.get("/api/v1/restore-points", params={"backup_set_id": made["id"], "limit": 3}).json()
    rest = client.get("/api/v1/restore-points", params={"after": listed["next"]}).json()
    assert [int(one["id"], 16) for one in listed["items"] + rest["items"]] == [0, 1, 2, 3, 4]


def test_a_draft_rule_explains_a_path(client: TestClient) -> None:
    """Each folder down to the one that decides is judged, by the draft and the default rules."""
    wanted = {"path": "/srv/a/x.tmp", "text": "# scratch\n*.tmp\n[size > 1MB] *.iso\n"}
    answer = client.post("/api/v1/previews/explain", json=wanted).json()
    assert answer["included"] is False
    assert [one["path"] for one in answer["items"]] == ["/srv", "/srv/a", "/srv/a/x.tmp"]
    assert answer["items"][-1]["rule"] == {"text": "*.tmp", "origin": "the rule line 2", "comment": "scratch"}
    large = {**wanted, "path": "/srv/x.iso", "size": 2_000_000}
    assert client.post("/api/v1/previews/explain", json=large).json()["included"] is False
    assert client.post("/api/v1/previews/explain", json=large | {"size": 5}).json()["included"] is True
    system = {"path": "/proc/1", "text": ""}
    assert client.post("/api/v1/previews/explain", json=system).json()["included"] is False
    assert client.post("/api/v1/previews/explain", json=wanted | {"path": "srv"}).status_code == 422


def test_coverage_tells_what_nobody_protects(client: TestClient, fleet: Fleet) -> None:
    """By the agent's inventory: covered by which set, partly, or not at all."""
    agent = fleet.agent("fs1")
    url = f"/api/v1/file-servers/{agent.file_server_id}/coverage"
    assert client.get(url).json()["reported"] is False
    volumes = [{"path": path, "filesystem": "ext4", "bytes": 10, "used": 5} for path in ("/", "/data")]
    folders = [{"path": path} for path in ("/home", "/srv", "/data/x")]
    agent.tell_inventory({"volumes": volumes, "folders": folders})
    fleet.backup_set(agent, paths=["/srv"])
    report = client.get(url).json()
    assert {one["path"]: one["coverage"] for one in report["volumes"] + report["folders"]} == {
        "/": "partly",
        "/data": "uncovered",
        "/home": "uncovered",
        "/srv": "covered",
        "/data/x": "uncovered",
    }
    assert [one["name"] for one in report["folders"][1]["sets"]] == ["home"]
