"""Who gets to see and do what in the console, and what a hostile page or name can do: nothing."""

import re

import pytest
from bench.console_seed import seed
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tests.server.conftest import PASSWORD, Browsers, csrf_of

from backstay.protocol.report import LookAnswer, LookedEntry
from backstay.server.access import Role
from backstay.server.control import Control
from backstay.server.tables import AgentLogLine, FileServer, JobMessage, JobProblem, LookRow
from backstay.server.web.router import FAMILIES
from backstay.server.web.visit import HEADERS

on_sqlite = pytest.mark.parametrize("control", ["sqlite"], indirect=True)
"""For what does not depend on the database."""

_NO_SESSION_NEEDED = {"/sign-in", "/set-up"}
_CHANGES_NOTHING = {"/policies/preview", "/rules/preview", "/sets/preview"}
_ROLES = {
    "/": {"administrator", "operator", "restore_only", "auditor"},
    "/jobs": {"administrator", "operator", "restore_only", "auditor"},
    "/restore": {"administrator", "operator", "restore_only"},
    "/audit": {"administrator", "auditor"},
    "/administrators": {"administrator"},
    "/settings": {"administrator"},
    "/file-servers/enrol": {"administrator"},
    "/policies/new": {"administrator", "operator"},
    "/sets/new": {"administrator", "operator"},
}


def pages(method: str) -> list[str]:
    """Addresses of the console's routes."""
    routes = [route for family in FAMILIES for route in family.routes]
    return [route.path for route in routes if isinstance(route, APIRoute) and method in route.methods]


def filled(path: str) -> str:
    """The address with something in each of its places."""
    return re.sub(r"\{[a-z_]+_id(?::\w+)?\}", "1", path)


@on_sqlite
def test_nobody_sees_a_page_without_signing_in(app: FastAPI, people: None) -> None:
    """Every page leads to the sign-in, and back from there."""
    checked = 0
    with TestClient(app, base_url="http://backstay.test", follow_redirects=False) as browser:
        for path in pages("GET"):
            if path not in _NO_SESSION_NEEDED:
                answer = browser.get(filled(path))
                assert answer.status_code == 303, path
                assert answer.headers["location"].startswith("/sign-in"), path
                checked += 1
    assert checked > 25


@on_sqlite
def test_nothing_is_changed_without_the_sessions_token(app: FastAPI, browser_of: Browsers) -> None:
    """Every form needs the CSRF token of the very session, whatever cookie comes along."""
    browser, other = browser_of("administrator"), browser_of("operator")
    checked = 0
    for path in pages("POST"):
        if path in _NO_SESSION_NEEDED | _CHANGES_NOTHING:
            continue
        for token in ("", "wrong", csrf_of(other)):
            answer = browser.post(filled(path), data={"csrf_token": token})
            assert answer.status_code == 403, path
        checked += 1
    assert checked > 25


@on_sqlite
@pytest.mark.parametrize("role", list(Role))
def test_pages_are_for_their_roles(browser_of: Browsers, role: Role) -> None:
    """A page that is not for a role answers 403, and the navigation does not lead there."""
    browser = browser_of(role.value)
    overview = browser.get("/").text
    for path, roles in _ROLES.items():
        assert browser.get(path).status_code == (200 if role.value in roles else 403), path
        if path in {"/audit", "/administrators", "/settings"}:
            assert (f'href="{path}"' in overview) == (role.value in roles), path


@on_sqlite
def test_a_role_cannot_do_what_its_pages_do_not_offer(browser_of: Browsers, control: Control) -> None:
    """A form sent by hand is refused as well."""
    seed(control, 2, 10)
    for role, path in (
        ("auditor", "/sets/1/backup"),
        ("restore_only", "/sets/1/backup"),
        ("auditor", "/restore/abcd/order"),
        ("operator", "/administrators"),
        ("operator", "/storage/1/run"),
        ("auditor", "/policies/1"),
    ):
        browser = browser_of(role)
        answer = browser.post(path, data={"csrf_token": csrf_of(browser), "kind": "prune"})
        assert answer.status_code == 403, (role, path)


def test_every_page_answers_and_may_load_nothing_from_elsewhere(
    app: FastAPI, browser_of: Browsers, control: Control
) -> None:
    """All pages of a server with a past, on either database; headers forbid frames and inline scripts."""
    seed(control, 6, 60)
    browser = browser_of("administrator")
    checked = 0
    for path in pages("GET"):
        if path in _NO_SESSION_NEEDED or "point_id" in path or "look_id" in path or path.endswith("/live"):
            continue
        answer = browser.get(filled(path))
        assert answer.status_code in {200, 303} or "/storage/" in path, path
        if answer.status_code == 200:
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, path
            assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text), path
            checked += 1
    for path in ("/?", "/restore?set=1", "/jobs?state=failed&kind=backup", "/sets?state=needing", "/nowhere"):
        assert browser.get(path).status_code == (404 if path == "/nowhere" else 200), path
    assert checked > 20


@on_sqlite
def test_text_from_outside_is_never_markup(browser_of: Browsers, control: Control) -> None:
    """Paths and messages that agents report stand on a job's page as text."""
    seed(control, 2, 10)
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    with control.database.begin() as db:
        db.add(JobMessage(job_id=1, at=control.clock(), level="info", text=evil))
        db.add(
            JobProblem(job_id=1, path=b"/srv/" + evil.encode() + b"\xff\n\x1b", reason=evil, grade="changed")
        )
    page = browser_of("administrator").get("/jobs/1").text
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "\\xff\\n\\x1b" in page


@on_sqlite
def test_a_session_begins_with_a_secret_of_its_own(app: FastAPI, people: None) -> None:
    """A cookie that somebody planted before the sign-in is worth nothing after it."""
    with TestClient(app, base_url="http://backstay.test", follow_redirects=False) as browser:
        browser.cookies.set("backstay", "planted")
        answer = browser.post("/sign-in", data={"name": "administrator", "password": PASSWORD})
        cookie = answer.headers["set-cookie"]
        assert "planted" not in cookie
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        secret = cookie.partition(";")[0].partition("=")[2]
        again = browser.post("/sign-in", data={"name": "administrator", "password": PASSWORD})
        assert secret not in again.headers["set-cookie"]
    with TestClient(
        app, base_url="http://backstay.test", follow_redirects=False, cookies={"backstay": secret}
    ) as old:
        assert old.get("/").status_code == 303


@on_sqlite
def test_another_site_signs_nobody_in(app: FastAPI, people: None) -> None:
    """A form on another site's page cannot begin a session here."""
    with TestClient(app, base_url="http://backstay.test", follow_redirects=False) as browser:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.test"}):
            form = {"name": "administrator", "password": PASSWORD}
            answer = browser.post("/sign-in", data=form, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "address", ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:alert(1)"]
)
def test_the_sign_in_leads_nowhere_else(app: FastAPI, people: None, address: str) -> None:
    """Whatever a link says, one stays in the console."""
    with TestClient(app, base_url="http://backstay.test", follow_redirects=False) as browser:
        form = {"name": "administrator", "password": PASSWORD, "next": address}
        assert browser.post("/sign-in", data=form).headers["location"] == "/"


@on_sqlite
def test_a_wrong_password_says_so_and_keeps_the_name(app: FastAPI, people: None) -> None:
    """The page does not tell which of the two was wrong."""
    with TestClient(app, base_url="http://backstay.test", follow_redirects=False) as browser:
        for name in ("administrator", "nobody"):
            answer = browser.post("/sign-in", data={"name": name, "password": "wrong wrong wrong"})
            assert answer.status_code == 401
            assert "name or the password is wrong" in answer.text
            assert f'value="{name}"' in answer.text


@on_sqlite
def test_what_a_removed_set_left_can_still_be_found(browser_of: Browsers, control: Control) -> None:
    """The restore points of a set that was removed stay, and the restore page leads to them."""
    seed(control, 2, 20)
    browser = browser_of("administrator")
    assert 'href="/restore?set=2"' in browser.get("/restore").text
    name = {"csrf_token": csrf_of(browser), "confirmation": "home"}
    assert browser.post("/sets/2/remove", data=name).status_code == 303
    assert 'href="/sets/2"' not in browser.get("/sets").text
    page = browser.get("/restore").text
    assert 'href="/restore?set=2"' in page
    assert "removed" in page
    assert browser.get("/restore?set=2").status_code == 200


@on_sqlite
def test_what_destroys_asks_for_the_name(browser_of: Browsers, control: Control) -> None:
    """Without the very name nothing is removed, whoever sends the form."""
    seed(control, 2, 10)
    browser = browser_of("administrator")
    token = csrf_of(browser)
    for path in ("/sets/1/remove", "/policies/1/remove", "/rules/2/remove", "/file-servers/1/revoke"):
        answer = browser.post(path, data={"csrf_token": token, "confirmation": "something else"})
        assert answer.status_code == 422, path
    assert "Nightly" in browser.get("/policies").text


@on_sqlite
def test_what_an_agent_tells_of_its_disk_and_log_is_never_markup(
    browser_of: Browsers, control: Control
) -> None:
    """Names, reasons and log lines stand there as text, and lead nowhere else."""
    seed(control, 1, 1)
    with control.database.begin() as db:
        server = db.get_one(FileServer, 1)
        server.last_seen_at = control.clock()
        evil = '"><script>alert(1)</script>\x1b'
        db.add(AgentLogLine(file_server_id=1, at=control.clock(), level="error", text=evil))
    browser = browser_of("operator")
    form = {"csrf_token": csrf_of(browser), "on_server": "1", "path": "/srv", "text": "*.tmp"}
    asked = re.search(r'hx-get="(/looks/\d+)"', browser.post("/looks", data=form).text)
    assert asked is not None
    assert "hx-get" in browser.get(asked[1]).text
    entries = [
        LookedEntry(path=b"/srv/" + evil.encode(), kind=kind, included=kind == "folder", reason=evil)
        for kind in ("folder", "file", "link")
    ]
    above = [LookedEntry(path=b"/srv", kind="folder", included=True)]
    told = LookAnswer(found="folder", entries=entries, above=above, left_out=entries, left_out_files=2)
    with control.database.begin() as db:
        db.query(LookRow).one().answer = told.model_dump(mode="json")
        db.query(LookRow).one().answered_at = control.clock()
    for page in (browser.get(asked[1]).text, browser.get("/file-servers/1").text):
        assert "alert(1)" in page
        assert "<script>alert" not in page
        assert "\\x1b" in page
    assert browser_of("administrator").get(asked[1]).status_code == 404
