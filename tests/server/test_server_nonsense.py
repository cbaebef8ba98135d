"""Every endpoint of the REST API against generated requests, right and wrong ones: no defect shows.

schemathesis makes them from the API's own description (https://schemathesis.readthedocs.io).
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from tests.server.conftest import token_for

from backstay.server.access import Role
from backstay.server.control import Control

pytestmark = [
    pytest.mark.parametrize("control", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("cheap_hashes"),
]

EXAMPLES = int(os.environ.get("BACKSTAY_NONSENSE", "5"))
"""Requests of each kind to each endpoint; more of them when somebody looks for defects."""

_UNAVAILABLE = {503, 507}

# The test client is built on httpx, or on its successor where that is installed.
_UNSENDABLE = [import_module(name).InvalidURL for name in ("httpx", "httpx2") if find_spec(name) is not None]


class Estate:
    """A server with one of each thing, so that numbers in paths are found at times."""

    def __init__(self, client: TestClient, control: Control) -> None:
        self.client = client
        self._control = control
        made = client.post("/api/v1/enrolment-tokens", json={}).json()
        self._enrol(made["token"])
        self._post("/policies", {"name": "nightly", "values": {}})
        self._post("/content-rules", {"name": "no-videos", "text": "*.mp4"})
        self._post("/backup-sets", {"file_server": "fs1", "name": "home", "paths": ["/home"]})
        self._post("/administrators", {"name": "olga", "role": "operator"})
        self._post("/backup-sets/1/backup", {})

    def _enrol(self, token: str) -> None:
        from backstay.server.fleet import secret_of

        body = {"secret": secret_of(token), "name": "fs1"}
        assert self.client.post("/agent/v1/enrol", json=body).is_success

    def _post(self, path: str, body: dict[str, Any]) -> None:
        self.client.post(f"/api/v1{path}", json=body)

    def renew(self) -> None:
        """Another administrator's token: a request may have shut the one before out."""
        self.client.headers["Authorization"] = f"Bearer {token_for(self._control, Role.ADMINISTRATOR)}"


@pytest.fixture
def estate(client: TestClient, control: Control) -> Iterator[Estate]:
    """The server that is asked."""
    yield Estate(client, control)


def _wrong(case: Case, estate: Estate) -> str | None:
    sent = case.as_transport_kwargs(base_url="http://testserver")
    sent.pop("headers", None)
    sent.pop("cookies", None)
    with suppress(*_UNSENDABLE), estate.client.stream(**sent) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return None
        return _wrong_with(answer, answer.read(), estate)
    return None  # no client sends an address that long


def _wrong_with(answer: httpx.Response, body: bytes, estate: Estate) -> str | None:
    kind = answer.headers.get("content-type", "")
    if answer.status_code < 400:
        return None
    if answer.status_code >= 500 and answer.status_code not in _UNAVAILABLE:
        return f"{answer.status_code} {body[:300]!r}"
    if kind != "application/problem+json":
        return f"{answer.status_code} with {kind}"
    document = json.loads(body)
    if document["status"] != answer.status_code or not document["title"] or not document["detail"]:
        return f"not much of a problem document: {document}"
    if answer.status_code == 422 and not document["hint"]:
        return f"no hint: {document}"
    if answer.status_code == 401:
        estate.renew()
    return None


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_shows_a_defect(estate: Estate, mode: GenerationMode) -> None:
    """Whatever is sent, the answer is no 500, and every refusal is a problem document."""
    schema = schemathesis.openapi.from_dict(estate.client.get("/api/v1/openapi.json").json())
    failures: list[str] = []
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES == 5,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            nonlocal asked
            asked += 1
            wrong = _wrong(case, estate)
            if wrong is not None:
                sent = f"{case.query} {case.body!r:.200}"
                failures.append(f"{case.method} {case.formatted_path} {sent}: {wrong}")

        # Where there is nothing to be got wrong, there is no wrong request.
        with suppress(Unsatisfiable):
            ask()
    assert asked > 200
    assert failures == []
