"""How the command line talks to a server: its REST API, its events, and its problem documents as errors.

Import it inside the function that runs: it loads an HTTP library.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import backstay
from backstay.cli import kept_login
from backstay.cli.kept_login import Login
from backstay.domain import errors
from backstay.domain.errors import (
    BackstayError,
    Conflict,
    Forbidden,
    NotFound,
    NotSignedIn,
    ServerError,
    ServerUnreachable,
    TooManyRequests,
    UsageError,
)

try:
    import httpx

    from backstay.protocol import certificate as certificates
except ImportError:
    raise UsageError(
        "this installation of Backstay cannot talk to a server: the package httpx is missing",
        hint="install it with: python -m pip install 'backstay[agent]'",
    ) from None

API: Final = "/api/v1"

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_EVENT_SECONDS = 90.0
"""The server sends at least a comment so often; silence for longer is a lost connection."""

Query = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True)
class ServerEvent:
    """A server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Attributes:
        data: JSON, decoded.
        id: where to go on from; empty where the server gives none.
    """

    kind: str
    data: Any
    id: str = ""


class ServerClient:
    """One server's REST API. Use it as a context manager.

    All methods raise what the server's problem document says, as errors of `domain.errors`, and
    ServerUnreachable where it does not answer. A query's None is left out.

    Args:
        url: of the server, as `backstay login` takes it.
        token: an API token.
        certificate: PEM; accept only this one. Empty: what the operating system's authorities signed.
    """

    def __init__(self, url: str, *, token: str = "", certificate: str = "") -> None:
        self.url = url.rstrip("/")
        headers = {"User-Agent": f"backstay/{backstay.__version__}", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        trust = (
            certificates.trusting_only(certificate) if certificate else certificates.trusting_authorities()
        )
        self._http = httpx.Client(
            verify=trust,
            headers=headers,
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
        )

    @classmethod
    def of(cls, login: Login) -> "ServerClient":
        """A client for a login that was kept."""
        return cls(login.url, token=login.token, certificate=login.certificate)

    def __enter__(self) -> "ServerClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, query: Query | None = None) -> Any:
        """The answer to GET, decoded; `path` follows /api/v1."""
        return self._ask("GET", path, query=query)

    def post(self, path: str, body: Any = None, query: Query | None = None) -> Any:
        """The answer to POST."""
        return self._ask("POST", path, body, query)

    def put(self, path: str, body: Any = None, query: Query | None = None) -> Any:
        """The answer to PUT."""
        return self._ask("PUT", path, body, query)

    def patch(self, path: str, body: Any = None, query: Query | None = None) -> Any:
        """The answer to PATCH."""
        return self._ask("PATCH", path, body, query)

    def delete(self, path: str, query: Query | None = None) -> Any:
        """The answer to DELETE."""
        return self._ask("DELETE", path, query=query)

    def pages(self, path: str, query: Query | None = None) -> Iterator[Any]:
        """All items of a list that comes in pages, each page naming the `next`."""
        query = dict(query or {})
        while True:
            page = self.get(path, query)
            yield from page["items"]
            if page.get("next") is None:
                return
            query["after"] = page["next"]

    def lines(self, path: str, query: Query | None = None) -> Iterator[str]:
        """The lines of a long answer, as they come."""
        with self._streaming("GET", path, query, {}) as response:
            for line in response.iter_lines():
                if line:
                    yield line

    def events(self, path: str, query: Query | None = None, *, last_id: str = "") -> Iterator[ServerEvent]:
        """Server-sent events until the server ends them.

        Whoever wants to go on after ServerUnreachable asks again with the last event's id.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        kind, number = "message", last_id
        data: list[str] = []
        with self._streaming("GET", path, query, headers) as response:
            for line in response.iter_lines():
                if not line:
                    if data:
                        yield ServerEvent(kind, json.loads("\n".join(data)), number)
                    kind, data = "message", []
                    continue
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    kind = value
                elif field == "data":
                    data.append(value)
                elif field == "id":
                    number = value

    def probe(self) -> None:
        """Raises ServerUnreachable where the server does not answer, or its certificate is not trusted."""
        try:
            self._http.head(self.url)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def sign_in(self, name: str, password: str) -> Any:
        """Begin a session as a person, for this client alone; what the server says of it."""
        session = self.post("/session", {"name": name, "password": password})
        self._http.headers["X-CSRF-Token"] = session["csrf_token"]
        return session

    def _ask(self, method: str, path: str, body: Any = None, query: Query | None = None) -> Any:
        try:
            response = self._http.request(method, self._address(path), params=_given(query), json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        _check(response, self.url)
        if response.status_code == HTTPStatus.NO_CONTENT or not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise _no_backstay(self.url) from None

    @contextmanager
    def _streaming(
        self, method: str, path: str, query: Query | None, headers: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(_EVENT_SECONDS, connect=_CONNECT_SECONDS)
        try:
            with self._http.stream(
                method, self._address(path), params=_given(query), headers=dict(headers), timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                _check(response, self.url)
                yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _address(self, path: str) -> str:
        return f"{self.url}{API}{path}"

    def _unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            hint = "if its certificate was changed on purpose, log in again: backstay login URL"
            return ServerUnreachable(f"the certificate of the server {self.url} is not trusted", hint=hint)
        if isinstance(error, httpx.TimeoutException):
            reason = "it did not answer in time"
        hint = "check that it runs and can be reached from here; `backstay login URL` changes the server"
        return ServerUnreachable(f"the server {self.url} cannot be reached: {reason}", hint=hint)


def connect() -> ServerClient:
    """The server of the login that was kept. Raises NotSignedIn, UsageError."""
    return ServerClient.of(kept_login.kept())


def server_url(text: str) -> str:
    """A server's URL as a user writes it; a bare host means https and port 8443. Raises UsageError."""
    url = text.strip().rstrip("/")
    if "://" not in text:
        bare = urlsplit(f"//{url}")
        url = f"https://{url}" if ":" in bare.netloc.rpartition("]")[2] else f"https://{url}:8443"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise UsageError(f"{text} is no address of a server", hint="write https://host:8443")
    return url


def _given(query: Query | None) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in (query or {}).items() if value is not None}


_BY_NAME: Final[Mapping[str, type[BackstayError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BackstayError) and kind.__init__ is BackstayError.__init__
}
_BY_STATUS: Final[Mapping[int, type[BackstayError]]] = {
    400: UsageError,
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: UsageError,
    422: UsageError,
    502: ServerUnreachable,
    503: ServerUnreachable,
    504: ServerUnreachable,
}


def _check(response: httpx.Response, url: str) -> None:
    """Raises what the server's answer says went wrong."""
    if response.is_success:
        return
    if response.is_redirect:
        raise UsageError(
            f"the server {url} sends us to {response.headers.get('location', 'another address')}",
            hint="log in there if you trust it",
        )
    try:
        document = response.json()
        what = document["detail"] or document["title"]
        hint, name = str(document.get("hint", "")), str(document.get("error", ""))
    except (ValueError, KeyError, TypeError):
        if response.status_code in _BY_STATUS and response.status_code >= 500:
            raise ServerUnreachable(
                f"the server {url} does not answer: {response.status_code} {response.reason_phrase}",
                hint="a proxy stands before it; check that the server itself runs",
            ) from None
        raise _no_backstay(url) from None
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = response.headers.get("retry-after", "")
        raise TooManyRequests(str(what), hint=hint, retry_after=int(wait) if wait.isdecimal() else 60)
    if status == HTTPStatus.UNAUTHORIZED and not hint:
        hint = "log in again: backstay login URL"
    raise (_BY_NAME.get(name) or _BY_STATUS.get(status, ServerError))(str(what), hint=hint)


def _no_backstay(url: str) -> ServerError:
    return ServerError(f"what answers at {url} is no Backstay server", hint="check the address and the port")
