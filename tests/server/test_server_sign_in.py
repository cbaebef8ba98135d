"""Signing in as a person: passwords, locks, sessions, and what an attacker would try."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from tests.server.conftest import MovableClock, token_for

from backstay.domain.errors import BackstayError, Conflict, TooManyRequests
from backstay.server import administrators, fleet, passwords, sign_in_limits
from backstay.server.access import SYSTEM, Role
from backstay.server.app import create_app
from backstay.server.control import Control
from backstay.server.sign_in import hash_of
from backstay.server.tables import Administrator, AuditEntry, SignInSession

pytestmark = pytest.mark.usefixtures("cheap_hashes")

PASSWORD = "seven-purple-elephants"


@pytest.fixture
def people(control: Control) -> dict[str, int]:
    """Two administrators and an operator, all with one password; their numbers by name."""
    hashed = passwords.hashed(PASSWORD)
    with control.database.begin() as db:
        rows = [
            Administrator(name=name, role=role.value, password_hash=hashed, created_at=control.clock())
            for name, role in (
                ("root", Role.ADMINISTRATOR),
                ("second", Role.ADMINISTRATOR),
                ("olga", Role.OPERATOR),
            )
        ]
        db.add_all(rows)
        db.flush()
        return {row.name: row.id for row in rows}


@contextmanager
def _browser(control: Control, url: str = "http://testserver") -> Iterator[TestClient]:
    with TestClient(create_app(control), base_url=url, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def browser(control: Control, people: dict[str, int]) -> Iterator[TestClient]:
    """A browser in which nobody is signed in."""
    with _browser(control) as client:
        yield client


def _sign_in(client: TestClient, name: str, password: str = PASSWORD) -> int:
    answer = client.post("/api/v1/session", json={"name": name, "password": password})
    if answer.status_code == 201:
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
    return answer.status_code


def test_a_session_acts_for_its_administrator(browser: TestClient) -> None:
    """After signing in, whatever the capitals of the name, the cookie is enough to look; sign-out ends it."""
    assert browser.get("/api/v1/session").status_code == 401
    assert _sign_in(browser, " Olga ") == 201
    seen = browser.get("/api/v1/session").json()
    assert (seen["administrator"], seen["role"]) == ("olga", "operator")
    assert "manage" not in seen["permissions"]
    assert browser.get("/api/v1/administrators").status_code == 403
    kept = {"Cookie": f"backstay={browser.cookies['backstay']}"}
    assert browser.delete("/api/v1/session").status_code == 204
    assert browser.get("/api/v1/session").status_code == 401
    assert browser.get("/api/v1/session", headers=kept).status_code == 401


def test_the_cookie_is_for_the_server_alone(control: Control, people: dict[str, int]) -> None:
    """No script reads the cookie, no other site sends it; with TLS it is bound to this host and to HTTPS."""
    with _browser(control) as client:
        answer = client.post("/api/v1/session", json={"name": "root", "password": PASSWORD})
        plain = answer.headers["set-cookie"]
    assert plain.startswith("backstay=")
    assert "HttpOnly" in plain
    assert "SameSite=lax" in plain
    behind_proxy = replace(
        control,
        settings=replace(control.settings, public_url="https://backstay.test"),
        database=control.database,
    )
    with _browser(behind_proxy, "https://testserver") as client:
        answer = client.post("/api/v1/session", json={"name": "root", "password": PASSWORD})
        secure = answer.headers["set-cookie"]
        assert client.get("/api/v1/session").status_code == 200
    assert secure.startswith("__Host-backstay=")
    assert "Secure" in secure
    assert "Path=/" in secure
    assert "Domain" not in secure


def test_no_session_can_be_planted(browser: TestClient) -> None:
    """A cookie that the browser brings along is neither taken up nor left alive by signing in."""
    browser.cookies.set("backstay", "planted", domain="testserver.local")
    assert _sign_in(browser, "root") == 201
    first = browser.cookies["backstay"]
    assert first != "planted"
    assert _sign_in(browser, "olga") == 201
    second = browser.cookies["backstay"]
    browser.cookies.clear()
    for secret, status in (("planted", 401), (first, 401), (second, 200)):
        answer = browser.get("/api/v1/session", headers={"Cookie": f"backstay={secret}"})
        assert answer.status_code == status


def test_what_changes_something_needs_the_csrf_token(browser: TestClient) -> None:
    """The cookie alone changes nothing, nor does another session's token, nor a page of another site."""
    _sign_in(browser, "root")
    right = browser.headers.pop("X-CSRF-Token")
    path, body = "/api/v1/enrolment-tokens", {"valid_seconds": 600}
    assert browser.post(path, json=body).status_code == 403
    assert browser.post(path, json=body, headers={"X-CSRF-Token": "x" * 32}).status_code == 403
    headers = {"X-CSRF-Token": right}
    assert browser.post(path, json=body, headers=headers).status_code == 201
    for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert browser.post(path, json=body, headers=headers | foreign).status_code == 403
    for ours in ("http://testserver", "http://backstay.test"):
        assert browser.post(path, json=body, headers=headers | {"Origin": ours}).status_code == 201


def test_nobody_is_signed_in_from_another_site(browser: TestClient) -> None:
    """Another site's page cannot sign the visitor in as somebody else."""
    body = {"name": "root", "password": PASSWORD}
    answer = browser.post("/api/v1/session", json=body, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_an_api_token_needs_no_csrf_token_and_wins_over_a_cookie(
    browser: TestClient, control: Control
) -> None:
    """With an Authorization header the cookie does not count, even where the token does not hold."""
    _sign_in(browser, "root")
    del browser.headers["X-CSRF-Token"]
    headers = {"Authorization": f"Bearer {token_for(control, Role.AUDITOR)}"}
    assert browser.get("/api/v1/session", headers=headers).json()["role"] == "auditor"
    for wrong in ("Bearer nonsense", "Bearer ", "Basic cm9vdDp4", "Agent 1:x", ""):
        answer = browser.get("/api/v1/session", headers={"Authorization": wrong})
        assert answer.status_code == 401


def test_sessions_end_when_idle_and_in_any_case(browser: TestClient, clock: MovableClock) -> None:
    """An hour at a time a session goes on, for seven days; thirteen idle hours end it."""
    _sign_in(browser, "root")
    for _ in range(16):
        clock.forward(hours=10)
        assert browser.get("/api/v1/session").status_code == 200
    clock.forward(hours=8)
    assert browser.get("/api/v1/session").status_code == 401
    _sign_in(browser, "root")
    clock.forward(hours=13)
    assert browser.get("/api/v1/session").status_code == 401


def test_sessions_are_listed_and_ended_one_by_one_or_all(browser: TestClient, control: Control) -> None:
    """One sees and ends one's own sessions, and no others."""
    with _browser(control) as other, _browser(control) as strange:
        _sign_in(browser, "root")
        _sign_in(other, "root")
        _sign_in(strange, "olga")
        listed = browser.get("/api/v1/sessions").json()
        assert [one["this_one"] for one in listed].count(True) == 1
        assert len(listed) == 2
        far = next(one["id"] for one in listed if not one["this_one"])
        assert strange.delete(f"/api/v1/sessions/{far}").status_code == 404
        assert browser.delete(f"/api/v1/sessions/{far}").status_code == 204
        assert other.get("/api/v1/session").status_code == 401
        assert browser.delete("/api/v1/sessions").status_code == 204
        assert browser.get("/api/v1/session").status_code == 401
        assert strange.get("/api/v1/session").status_code == 200


def test_a_name_is_locked_for_longer_and_longer(browser: TestClient, clock: MovableClock) -> None:
    """After five wrong passwords even the right one has to wait: 30 seconds, then a minute, then two."""
    assert [_sign_in(browser, "root", "wrong") for _ in range(5)] == [401] * 5
    for wait in (30, 60, 120):
        answer = browser.post("/api/v1/session", json={"name": "root", "password": PASSWORD})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) == wait + 1
        clock.forward(seconds=wait + 1)
        assert _sign_in(browser, "root", "wrong") == 401
    assert _sign_in(browser, "olga") == 201
    clock.forward(seconds=241)
    assert _sign_in(browser, "root") == 201
    assert _sign_in(browser, "root", "wrong") == 401
    assert _sign_in(browser, "root") == 201


def test_an_administrator_unlocks_a_name(
    browser: TestClient, client: TestClient, people: dict[str, int]
) -> None:
    """Whoever was locked out by a stranger need not wait."""
    for _ in range(5):
        _sign_in(browser, "olga", "wrong")
    assert _sign_in(browser, "olga") == 429
    path = f"/api/v1/administrators/{people['olga']}"
    assert client.get(path).json()["locked_until"] is not None
    assert client.post(f"{path}/unlock").json()["locked_until"] is None
    assert _sign_in(browser, "olga") == 201


def test_a_name_that_is_unknown_is_treated_as_one_that_is_not(browser: TestClient) -> None:
    """Unknown, disabled and known names are refused in the same words, and locked after as many tries."""

    def refusals(name: str) -> list[tuple[int, str]]:
        answers = [
            browser.post("/api/v1/session", json={"name": name, "password": "wrong"}) for _ in range(6)
        ]
        return [(answer.status_code, answer.json()["detail"]) for answer in answers]

    known = refusals("root")
    assert [status for status, _ in known] == [401] * 5 + [429]
    assert refusals("nobody-of-this-name") == known
    assert refusals("a\x00b \ud800".encode("utf-8", "replace").decode()) == known


def test_an_address_cannot_try_many_names(browser: TestClient, clock: MovableClock) -> None:
    """Thirty failures from one address lock it, however many names it tries; success does not count."""
    for number in range(29):
        assert _sign_in(browser, f"name-{number}", "wrong") == 401
    assert _sign_in(browser, "root") == 201
    assert _sign_in(browser, "name-30", "wrong") == 401
    assert _sign_in(browser, "root") == 429
    clock.forward(seconds=31)
    assert _sign_in(browser, "root") == 201


def test_a_disabled_administrator_is_out_at_once(
    browser: TestClient, client: TestClient, people: dict[str, int]
) -> None:
    """Sessions end, the password does not help, and enabling again brings no old session back."""
    _sign_in(browser, "olga")
    path = f"/api/v1/administrators/{people['olga']}"
    assert client.patch(path, json={"disabled": True}).json()["disabled"] is True
    assert browser.get("/api/v1/session").status_code == 401
    assert _sign_in(browser, "olga") == 401
    client.patch(path, json={"disabled": False})
    assert browser.get("/api/v1/session").status_code == 401
    assert _sign_in(browser, "olga") == 201


def test_a_changed_role_holds_at_once(
    browser: TestClient, client: TestClient, people: dict[str, int]
) -> None:
    """Who is demoted loses the permissions in the session that is open."""
    _sign_in(browser, "second")
    assert browser.get("/api/v1/administrators").status_code == 200
    assert client.patch(f"/api/v1/administrators/{people['second']}", json={"role": "auditor"}).is_success
    assert browser.get("/api/v1/administrators").status_code == 403


def test_a_given_password_must_be_changed_first(browser: TestClient, client: TestClient) -> None:
    """A new administrator can do nothing but choose a password; the other sessions end with the old one."""
    made = client.post("/api/v1/administrators", json={"name": "Nora", "role": "operator"}).json()
    assert made["name"] == "nora"
    assert _sign_in(browser, "nora", made["password"]) == 201
    refused = browser.get("/api/v1/file-servers")
    assert refused.status_code == 403
    assert "choose a password" in refused.json()["hint"]
    assert browser.post("/api/v1/tokens", json={"name": "x", "scopes": ["view"]}).status_code == 403
    change = {"password": made["password"], "new_password": "short"}
    assert browser.put("/api/v1/session/password", json=change).status_code == 422
    assert browser.put("/api/v1/session/password", json=change | {"password": "wrong"}).status_code == 403
    change["new_password"] = PASSWORD
    assert browser.put("/api/v1/session/password", json=change).status_code == 204
    assert browser.get("/api/v1/file-servers").status_code == 200
    assert _sign_in(browser, "nora", made["password"]) == 401
    assert _sign_in(browser, "nora") == 201


def test_another_password_ends_the_other_sessions(browser: TestClient, control: Control) -> None:
    """Who changes the password stays signed in; whoever had the old one is out."""
    with _browser(control) as thief:
        _sign_in(thief, "root")
        _sign_in(browser, "root")
        change = {"password": PASSWORD, "new_password": "eight-yellow-zebras"}
        assert browser.put("/api/v1/session/password", json=change).status_code == 204
        assert thief.get("/api/v1/session").status_code == 401
        assert browser.get("/api/v1/session").status_code == 200


def test_a_stolen_session_cannot_guess_the_password(browser: TestClient) -> None:
    """The old password is limited as a sign-in is."""
    _sign_in(browser, "root")
    change = {"password": "wrong", "new_password": "eight-yellow-zebras"}
    codes = [browser.put("/api/v1/session/password", json=change).status_code for _ in range(6)]
    assert codes == [403] * 5 + [429]


def test_the_last_administrator_stays(client: TestClient, control: Control, people: dict[str, int]) -> None:
    """Nobody can disable or demote the only administrator, not even themselves."""
    with control.database.read() as db:
        own = db.scalars(select(Administrator.id).where(Administrator.name.like("administrator-%"))).one()
    for other in ("root", "second"):
        path = f"/api/v1/administrators/{people[other]}"
        assert client.patch(path, json={"disabled": True}).is_success
    for change in ({"disabled": True}, {"role": "auditor"}):
        assert client.patch(f"/api/v1/administrators/{own}", json=change).status_code == 409
    assert client.get("/api/v1/session").json()["role"] == "administrator"


def test_nobody_gives_more_power_than_they_have(client: TestClient, people: dict[str, int]) -> None:
    """A token that may manage but not restore makes no administrator, and resets none's password."""
    made = client.post("/api/v1/tokens", json={"name": "narrow", "scopes": ["manage", "view"]}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    body = {"name": "puppet", "role": "administrator"}
    assert client.post("/api/v1/administrators", json=body, headers=headers).status_code == 403
    path = f"/api/v1/administrators/{people['root']}/password"
    assert client.post(path, json={}, headers=headers).status_code == 403


def test_bad_passwords(client: TestClient) -> None:
    """Too short, too long, the name with digits, or one character again and again will not do."""
    for password in ["short", "aaaaaaaaaaaaaaaaaa", "root2026root2026", "x" * 1001]:
        body = {"name": "root2026", "role": "auditor", "password": password}
        assert client.post("/api/v1/administrators", json=body).status_code == 422, password


def test_bad_names(client: TestClient) -> None:
    """Names that could be mistaken, or cannot be typed, are refused; whatever the role."""
    for name in ["", " ", "a b", "-a", "a/b", "a\x00", "x" * 65, "\u202eroot"]:
        answer = client.post("/api/v1/administrators", json={"name": name, "role": "auditor"})
        assert answer.status_code == 422, name


def test_names_do_not_differ_by_capitals(client: TestClient, people: dict[str, int]) -> None:
    """Nobody can be called as somebody else is."""
    assert client.post("/api/v1/administrators", json={"name": "ROOT", "role": "auditor"}).status_code == 409


def test_the_first_set_up_needs_the_code_and_happens_once(control: Control, clock: MovableClock) -> None:
    """Nobody takes a new server without the code from its log; once it has an administrator, nobody does."""
    with _browser(control) as client:
        assert client.get("/api/v1/setup").json() == {"needed": True}
        code = administrators.setup_code(control)
        assert code == administrators.setup_code(control)
        body = {"code": "guess", "name": "root", "password": PASSWORD}
        assert client.post("/api/v1/setup", json=body).status_code == 403
        body["code"] = str(code)
        assert client.post("/api/v1/setup", json=body).status_code == 201
        assert client.post("/api/v1/setup", json=body).status_code == 409
        assert client.get("/api/v1/setup").json() == {"needed": False}
        assert administrators.setup_code(control) is None
        assert _sign_in(client, "root") == 201
        assert client.get("/api/v1/administrators").status_code == 200


def test_the_first_administrator_can_be_made_without_a_network(control: Control) -> None:
    """A generated password is told once, and the second first administrator is refused."""
    with control.database.begin() as db:
        made = administrators.create_first_administrator(db, now=control.clock())
    assert made.name == "admin"
    with _browser(control) as client:
        assert _sign_in(client, "admin", made.password) == 201
        assert client.get("/api/v1/administrators").status_code == 200
    with control.database.begin() as db, pytest.raises(Conflict):
        administrators.create_first_administrator(db, now=control.clock())


def test_secrets_are_nowhere_in_the_database(browser: TestClient, control: Control) -> None:
    """The database holds hashes: neither the password, nor the cookie; the audit log holds who came."""
    _sign_in(browser, "root")
    assert _sign_in(browser, PASSWORD, "wrong") == 401
    with control.database.read() as db:
        person = db.scalars(select(Administrator).where(Administrator.name == "root")).one()
        assert person.password_hash.startswith("$argon2id$")
        kept = db.scalars(select(SignInSession)).one()
        assert kept.secret_hash == hash_of(browser.cookies["backstay"])
        entries = db.scalars(select(AuditEntry).order_by(AuditEntry.number)).all()
        texts = " ".join(f"{one.subject} {one.before} {one.after} {one.who}" for one in entries)
    assert [one.action for one in entries] == ["session.begin", "session.refuse"]
    assert PASSWORD not in texts
    assert SYSTEM.name not in texts


def _at_once(count: int, work: Callable[[int], None]) -> list[BackstayError]:
    """Do it in so many threads at the same time; the errors that came of it."""
    failures: list[BackstayError] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BackstayError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_of_many_first_administrators_one_is_made(control: Control) -> None:
    """Several servers that are set up at the same moment have one first administrator between them."""

    def work(number: int) -> None:
        with control.database.begin() as db:
            administrators.create_first_administrator(db, now=control.clock(), name=f"admin{number}")

    failures = _at_once(5, work)
    assert [type(one) for one in failures] == [Conflict] * 4
    with control.database.read() as db:
        assert len(administrators.list_administrators(db)) == 1


def test_two_administrators_cannot_demote_each_other(control: Control, people: dict[str, int]) -> None:
    """Whoever comes second at the same moment is the last, and stays."""
    pair = [people["root"], people["second"]]

    def work(number: int) -> None:
        with control.database.begin() as db:
            administrators.change_administrator(
                db, SYSTEM, pair[number], now=control.clock(), role=Role.AUDITOR
            )

    failures = _at_once(2, work)
    assert [type(one) for one in failures] == [Conflict]


def test_many_tries_at_once_gain_nothing(control: Control, people: dict[str, int]) -> None:
    """Twelve attempts at the same moment count as twelve: no more than five passwords are looked at."""

    def work(number: int) -> None:
        with control.database.begin() as db:
            sign_in_limits.count_attempt(db, "root", f"10.0.0.{number}", control.clock())

    failures = _at_once(12, work)
    assert [type(one) for one in failures] == [TooManyRequests] * 7


def test_enrolment_tokens_are_listed_and_revoked(client: TestClient, clock: MovableClock) -> None:
    """Those that still let somebody in are listed, without their secret; a revoked one lets nobody in."""
    made = [client.post("/api/v1/enrolment-tokens", json={"comment": text}).json() for text in ("a", "b")]
    path = "/api/v1/enrolment-tokens"
    assert [one["comment"] for one in client.get(path).json()] == ["b", "a"]
    assert made[0]["token"] not in client.get(path).text
    assert client.delete(f"{path}/{made[0]['id']}").status_code == 204
    assert [one["comment"] for one in client.get(path).json()] == ["b"]
    body = {"secret": fleet.secret_of(made[0]["token"]), "name": "fs1"}
    assert client.post("/agent/v1/enrol", json=body).status_code == 401
    clock.forward(days=2)
    assert client.get(path).json() == []
    assert len(client.get(path, params={"spent": True}).json()) == 2
    assert client.delete(f"{path}/4711").status_code == 404


def test_answers_with_secrets_are_kept_nowhere(client: TestClient) -> None:
    """No cache between keeps what the API answers."""
    answer = client.post("/api/v1/tokens", json={"name": "x", "scopes": ["view"]})
    assert answer.headers["cache-control"] == "no-store"


def test_the_description_says_how_to_sign_in_and_what_refusals_are(client: TestClient) -> None:
    """OpenAPI names both ways to say who one is, and the problem document of every endpoint."""
    described = client.get("/api/v1/openapi.json").json()
    assert set(described["components"]["securitySchemes"]) == {"token", "session"}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            refusal = operation["responses"]["4XX"]["content"]["application/problem+json"]
            assert refusal["schema"]["$ref"].endswith("/Problem"), (path, method)
