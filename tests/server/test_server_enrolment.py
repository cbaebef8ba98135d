from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock, token_for

from backstay.server.access import Role
from backstay.server.control import Control


def _secret(token: str) -> str:
    import base64
    import json

    body = token.removeprefix("backstay-enrol-")
    secret: str = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["s"]
    return secret


def _enrol(client: TestClient, token: str, name: str) -> int:
    return client.post("/agent/v1/enrol", json={"secret": _secret(token), "name": name}).status_code


def test_one_token_enrols_many_agents_until_it_expires(client: TestClient, clock: MovableClock) -> None:
    """A token enrols several agents under different names, and none after its time."""
    token = client.post("/api/v1/enrolment-tokens", json={"valid_seconds": 600}).json()["token"]
    assert [_enrol(client, token, name) for name in ("fs1", "fs2")] == [200, 200]
    clock.forward(seconds=601)
    assert _enrol(client, token, "fs3") == 401
    listed = client.get("/api/v1/file-servers").json()
    assert [item["name"] for item in listed["items"]] == ["fs1", "fs2"]


def test_a_token_cannot_take_the_place_of_an_enrolled_file_server(client: TestClient) -> None:
    """Enrolling under a name that has an agent is refused; after its credential was revoked it is not."""
    token = client.post("/api/v1/enrolment-tokens", json={}).json()["token"]
    assert _enrol(client, token, "fs1") == 200
    assert _enrol(client, token, "fs1") == 409
    number = client.get("/api/v1/file-servers").json()["items"][0]["id"]
    assert client.post(f"/api/v1/file-servers/{number}/revoke").json()["enrolled"] is False
    assert _enrol(client, token, "fs1") == 200


def test_an_auditor_makes_no_enrolment_token(client: TestClient, control: Control) -> None:
    """Roles are enforced: who may only look gets a problem document with status 403."""
    client.headers["Authorization"] = f"Bearer {token_for(control, Role.AUDITOR)}"
    answer = client.post("/api/v1/enrolment-tokens", json={})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
