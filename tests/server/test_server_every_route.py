"""Every route that the application has, found by walking it: who is let in, and who is not.

A route that is added without a permission fails here, and so does one that lets in who should not be.
"""

import inspect
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import Response
from tests.server.conftest import token_for

from backstay.server.access import PERMISSIONS, Permission, Role
from backstay.server.agent_api import agent_id
from backstay.server.api.dependencies import ActorWith, public
from backstay.server.app import create_app
from backstay.server.control import Control
from backstay.server.sign_in import hash_of
from backstay.server.tables import Administrator, SignInSession

pytestmark = [
    pytest.mark.parametrize("control", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("cheap_hashes"),
]

OPEN_PATHS = {
    "/api/v1/openapi.json",  # the API's description
    "/static/{digest}/{name:path}",
    "/sign-in",
    "/set-up",
    "/sign-out",
    "/{path:path}",  # says that there is no such page
}
"""What answers everybody on purpose, beside the endpoints that declare it."""

CHECKED_INSIDE = {"/metrics"}
"""Has a check of its own, with a test of its own; here only that nobody gets in without."""

ONLY_PREVIEWS = {"/sets/preview", "/policies/preview", "/rules/preview"}
"""Are sent forms, and change nothing: they need no CSRF token."""

_UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
_ANYBODY = "anybody"
_PUBLIC = "public"
_AGENT = "agent"


@dataclass(frozen=True)
class Found:
    """One method of one route.

    Attributes:
        needs: a permission, or who is let in without one; None: it declares nothing.
        is_page: of the console: who is not signed in is led to the sign-in page.
    """

    method: str
    path: str
    needs: Permission | str | None
    is_page: bool

    @property
    def url(self) -> str:
        """An address that the route takes."""
        return re.sub(r"\{[^}]*\}", "1", self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _walk(routes: Any, prefix: str = "") -> Iterator[Found]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _walk(inner.routes, prefix + route.include_context.prefix)
            continue
        path = prefix + route.path
        is_page = not path.startswith(("/api/", "/agent/", "/metrics"))
        needs = _needs(route.dependant) if isinstance(route, APIRoute) else None
        if path.startswith("/agent/v1/storage/"):
            needs = _AGENT
        for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"}):
            yield Found(method, path, needs, is_page)


def _needs(dependant: Dependant) -> Permission | str | None:
    for one in dependant.dependencies:
        call = one.call
        if isinstance(call, ActorWith):
            return call.permission or _ANYBODY
        if call is public:
            return _PUBLIC
        if call is agent_id:
            return _AGENT
        if inspect.isfunction(call) and "permission" in (kept := inspect.getclosurevars(call).nonlocals):
            return kept["permission"] or _ANYBODY
        inner = _needs(one)
        if inner is not None:
            return inner
    return None


@pytest.fixture
def client(control: Control) -> Iterator[TestClient]:
    """A client that brings nothing along, and follows nowhere."""
    app = create_app(control)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def found(client: TestClient) -> list[Found]:
    """All routes."""
    walked = list(_walk(client.app.routes))  # type: ignore[attr-defined]
    assert len(walked) > 60
    return walked


def _is_open(one: Found) -> bool:
    return one.path in OPEN_PATHS or one.needs == _PUBLIC or one.path == "/agent/v1/enrol"


def _turned_away(one: Found, answer: Response) -> bool:
    """Whether the answer says: sign in first; an agent's message is read before it is asked who sent it."""
    if one.needs == _AGENT and answer.status_code == 422:
        return True
    if one.is_page:
        return answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
    return answer.status_code == 401


def _ask(client: TestClient, one: Found, headers: dict[str, str]) -> Response:
    client.cookies.clear()
    body = {"data": {"x": "1"}} if one.is_page else {"json": {}}
    with client.stream(
        one.method, one.url, headers=headers, **(body if one.method in _UNSAFE else {})
    ) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.read()
        return answer


def _session_for(control: Control, role: Role) -> dict[str, str]:
    """Headers of a browser in which somebody of this role is signed in."""
    secret, csrf = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    now = control.clock()
    with control.database.begin() as db:
        person = Administrator(name=f"b-{secret}", role=role.value, password_hash="", created_at=now)
        db.add(person)
        db.flush()
        db.add(
            SignInSession(
                secret_hash=hash_of(secret),
                administrator_id=person.id,
                csrf_token=csrf,
                created_at=now,
                last_used_at=now,
                expires_at=now.replace(year=now.year + 1),
            )
        )
    return {"Cookie": f"backstay={secret}", "X-CSRF-Token": csrf}


def test_every_route_says_whom_it_lets_in(found: list[Found]) -> None:
    """Each route declares a permission, or stands in the list of those that are open on purpose."""
    silent = [str(one) for one in found if one.needs is None and not _is_open(one)]
    assert [one for one in silent if one.split()[1] not in CHECKED_INSIDE] == []


def test_nobody_gets_in_without_a_credential(client: TestClient, found: list[Found]) -> None:
    """Without a credential, with a wrong one, or with one of another kind, every other route turns away."""
    wrong = [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Agent 1:nonsense", "X-Backstay-Instance": "x"},
        {"Cookie": "backstay=nonsense; __Host-backstay=nonsense"},
    ]
    let_in = [
        f"{one} with {headers}: {answer.status_code}"
        for one in found
        if not _is_open(one)
        for headers in wrong
        if not _turned_away(one, answer := _ask(client, one, headers))
    ]
    assert let_in == []


def test_an_api_token_is_no_agent(client: TestClient, control: Control, found: list[Found]) -> None:
    """The most powerful token gets nothing of what agents may."""
    headers = {
        "Authorization": f"Bearer {token_for(control, Role.ADMINISTRATOR)}",
        "X-Backstay-Instance": "x",
    }
    for one in found:
        if one.needs == _AGENT:
            assert _ask(client, one, headers).status_code == 401, str(one)


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_what_it_should(
    client: TestClient, control: Control, found: list[Found], role: Role
) -> None:
    """On each route: refused without the permission, and not refused with it, by token and in the console."""
    wrong = []
    for one in found:
        if _is_open(one) or one.needs in {None, _AGENT}:
            continue
        if one.is_page:
            headers = _session_for(control, role)
        else:
            headers = {"Authorization": f"Bearer {token_for(control, role)}"}
        answer = _ask(client, one, headers)
        may = one.needs == _ANYBODY or one.needs in PERMISSIONS[role]
        refused = answer.status_code == 403
        as_it_should = one.needs == _ANYBODY or refused != may
        if _turned_away(one, answer) or not as_it_should or answer.status_code == 500:
            wrong.append(f"{one}: {answer.status_code}, though {role} {'may' if may else 'may not'}")
    assert wrong == []


def test_a_cookie_alone_changes_nothing(client: TestClient, control: Control, found: list[Found]) -> None:
    """Whatever changes something refuses a session that does not show its CSRF token."""
    headers = _session_for(control, Role.ADMINISTRATOR)
    del headers["X-CSRF-Token"]
    for one in found:
        if one.method in _UNSAFE and one.needs not in {None, _PUBLIC, _AGENT}:
            answer = _ask(client, one, headers)
            assert answer.status_code == 403 or one.path in ONLY_PREVIEWS, str(one)
    assert client.get("/api/v1/session", headers=headers).status_code == 200


def test_a_token_never_does_more_than_its_scope(
    client: TestClient, control: Control, found: list[Found]
) -> None:
    """With the scope `view` alone, an administrator's token is refused wherever another permission is due."""
    own = {"Authorization": f"Bearer {token_for(control, Role.ADMINISTRATOR)}"}
    made = client.post("/api/v1/tokens", json={"name": "narrow", "scopes": ["view"]}, headers=own).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    for one in found:
        if isinstance(one.needs, Permission) and one.needs is not Permission.VIEW and not one.is_page:
            assert _ask(client, one, headers).status_code == 403, str(one)
