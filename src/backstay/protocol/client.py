"""The agent's side of the conversation: it calls, the server answers.

Works through proxies (HTTPS_PROXY and friends, as httpx reads them) and behind NAT. A self-signed server is
known by the certificate whose fingerprint stood in the enrolment token.
"""

import base64
import binascii
import json
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from backstay.domain.errors import (
    BackstayError,
    Conflict,
    Forbidden,
    NotFound,
    NotSignedIn,
    ObjectExists,
    ServerError,
    ServerUnreachable,
    StorageError,
    StorageFull,
    StorageUnavailable,
    UsageError,
)
from backstay.protocol.certificate import pinned_certificate, trusting_authorities, trusting_only
from backstay.protocol.inventory import Inventory
from backstay.protocol.report import (
    EnrolReply,
    EnrolRequest,
    Outcome,
    OutcomeReply,
    Report,
    ReportReply,
    WhoAmIReply,
)
from backstay.protocol.ticket import Greeting, LeaseReply
from backstay.storage.gateway import Answer
from backstay.storage.interface import Buffer

TOKEN_PREFIX = "backstay-enrol-"
REPORT_SECONDS = 30.0
"""How long the answer to a report is waited for."""
POLL_SLACK_SECONDS = 30.0
"""How much longer than it asked for an agent waits for the answer to its question for work."""
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_STORE_SECONDS = 900.0
_PIECE = 1 << 20

_Reply = TypeVar("_Reply", bound=BaseModel)


class EnrolmentToken(BaseModel):
    """What an enrolment token says: a secret, and the fingerprint of the server's certificate or nothing."""

    s: str
    f: str = ""


def read_token(text: str) -> EnrolmentToken:
    """Read an enrolment token as it was pasted. Raises UsageError."""
    body = text.strip().removeprefix(TOKEN_PREFIX)
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return EnrolmentToken.model_validate(json.loads(raw))
    except (ValueError, binascii.Error, ValidationError):
        raise UsageError(
            "that is not an enrolment token, or not a whole one",
            hint="copy it again from the console, or make a new one: `backstay tokens enrol`",
        ) from None


def certificate_of(url: str, fingerprint: str) -> str:
    """The server's certificate (PEM), which must have this fingerprint; empty where none is to be pinned.

    Raises:
        ServerUnreachable: nobody answers there.
        ServerError: it is another certificate: somebody else answers, or the token is of another server.
    """
    if urlsplit(url).scheme != "https" or not fingerprint:
        return ""
    return pinned_certificate(url, fingerprint)


def _unreachable(url: str, error: Exception) -> ServerUnreachable:
    why = str(error) or type(error).__name__
    return ServerUnreachable(
        f"the server {url} cannot be reached: {why}", hint="check its address, that it runs, and the network"
    )


def _trust(certificate: str) -> ssl.SSLContext:
    return trusting_only(certificate) if certificate else trusting_authorities()


class AgentClient:
    """One agent process's connection to its server. Safe to use from several threads.

    Args:
        url: the server's address.
        certificate: PEM of the only certificate to trust; empty: whom the system trusts.
        identity: number and secret of the file server, as enrolment gave them.
        instance: random, of this process.
    """

    def __init__(self, url: str, certificate: str, identity: tuple[int, str], instance: str) -> None:
        self.url = url.rstrip("/")
        self.instance = instance
        number, secret = identity
        self._http = httpx.Client(
            base_url=f"{self.url}/agent/v1/",
            headers={"authorization": f"Agent {number}:{secret}", "x-backstay-instance": instance},
            verify=_trust(certificate),
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=16),
        )

    @staticmethod
    def enrol(url: str, certificate: str, request: EnrolRequest) -> EnrolReply:
        """Enrol. Raises ServerError."""
        with httpx.Client(verify=_trust(certificate), timeout=_ANSWER_SECONDS) as http:
            return _call(http, f"{url.rstrip('/')}/agent/v1/enrol", request, EnrolReply, url)

    def lease(self, greeting: Greeting) -> LeaseReply:
        """Ask for a job. Raises ServerError."""
        seconds = greeting.wait_seconds + POLL_SLACK_SECONDS
        return _call(self._http, "lease", greeting, LeaseReply, self.url, seconds)

    def report(self, job: int, report: Report) -> ReportReply:
        """Tell how a job goes. Raises ServerError."""
        return _call(self._http, f"jobs/{job}/report", report, ReportReply, self.url, REPORT_SECONDS)

    def outcome(self, job: int, outcome: Outcome) -> OutcomeReply:
        """Tell how a job ended. Raises ServerError."""
        return _call(self._http, f"jobs/{job}/outcome", outcome, OutcomeReply, self.url)

    def inventory(self, inventory: Inventory) -> None:
        """Tell what there is to protect. Raises ServerError."""
        _answered(_send(self._http, "inventory", inventory.model_dump_json().encode(), self.url, None))

    def who_am_i(self) -> WhoAmIReply:
        """Ask whether the credential holds; an agent that runs is not disturbed. Raises ServerError."""
        response = _send(self._http, "who-am-i", b"{}", self.url, _CONNECT_SECONDS)
        return _understood(_answered(response), WhoAmIReply, self.url)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def channel(self, job: int, epoch: int, patience: float = _ANSWER_SECONDS) -> "JobChannel":
        """The way to the repository for a job.

        Args:
            patience: seconds that the job waits for a server that is away: no answer is waited for longer.
        """
        seconds = min(_ANSWER_SECONDS, max(_CONNECT_SECONDS, patience))
        return JobChannel(self._http, self.url, job, epoch, seconds)


def _send(http: httpx.Client, path: str, body: bytes, url: str, seconds: float | None) -> httpx.Response:
    timeout = httpx.Timeout(seconds or _ANSWER_SECONDS, connect=_CONNECT_SECONDS)
    headers = {"content-type": "application/json"}
    try:
        return http.post(path, content=body, headers=headers, timeout=timeout)
    except httpx.HTTPError as error:
        raise _unreachable(url, error) from error


def _call(
    http: httpx.Client,
    path: str,
    message: BaseModel,
    reply: type[_Reply],
    url: str,
    seconds: float | None = None,
) -> _Reply:
    response = _answered(_send(http, path, message.model_dump_json().encode(), url, seconds))
    return _understood(response, reply, url)


def _understood(response: httpx.Response, reply: type[_Reply], url: str) -> _Reply:
    try:
        return reply.model_validate_json(response.content)
    except ValidationError as error:
        raise ServerUnreachable(
            f"the answer of {url} cannot be understood ({error.error_count()} errors)",
            hint="check that a Backstay server of this version answers there, and not a proxy",
        ) from None


_ERRORS: Mapping[int, type[ServerError]] = {401: NotSignedIn, 403: Forbidden, 404: NotFound, 409: Conflict}


def _answered(response: httpx.Response) -> httpx.Response:
    """The response if it is a success. Raises ServerError as its problem document says."""
    if response.is_success:
        return response
    what, hint, kind = problem_in(response)
    if response.status_code in {429, 500, 502, 503, 504}:
        raise ServerUnreachable(what, hint=hint)
    if not kind and response.status_code != 422:
        raise ServerUnreachable(
            f"something that is no Backstay server answered in its place: {what}",
            hint="check the proxies between here and the server, and its address",
        )
    raise _ERRORS.get(response.status_code, ServerError)(what, hint=hint)


def problem_in(response: httpx.Response) -> tuple[str, str, str]:
    """What a failed answer says (RFC 9457): what happened, a hint, and the name of the error."""
    try:
        document = json.loads(response.content)
        return (
            str(document["detail"] or document["title"]),
            str(document.get("hint", "")),
            str(document.get("error", "")),
        )
    except (ValueError, KeyError, TypeError):
        return f"the server answered with status {response.status_code}", "", ""


class JobChannel:
    """The way to the repository for one job, as storage.gateway.Channel."""

    def __init__(self, http: httpx.Client, url: str, job: int, epoch: int, seconds: float) -> None:
        self._http = http
        self._timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        self._url = url
        self._headers = {"x-backstay-job": f"{job}:{epoch}"}

    @property
    def url(self) -> str:
        """The server's address."""
        return self._url

    def send(
        self,
        method: str,
        path: str,
        body: Sequence[Buffer] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """As Channel.send."""
        sent = {**self._headers, **(headers or {})}
        content: Iterable[bytes] | None = None
        if method in {"PUT", "POST"}:
            sent["content-length"] = str(sum(memoryview(part).nbytes for part in body))
            content = _pieces(body)
        try:
            response = self._http.request(
                method, f"storage/{path}", content=content, headers=sent, timeout=self._timeout
            )
        except httpx.HTTPError as error:
            raise StorageUnavailable(
                f"the server {self._url} cannot be reached: {str(error) or type(error).__name__}",
                hint="check that it runs, and the network",
            ) from error
        if response.is_success or response.status_code == 404:
            return Answer(response.status_code, response.headers, response.content)
        raise _storage_error(response)

    def send_to_store(self, url: str, headers: Mapping[str, str], body: Sequence[Buffer]) -> int:
        """As Channel.send_to_store."""
        size = sum(memoryview(part).nbytes for part in body)
        try:
            with httpx.Client(timeout=httpx.Timeout(_STORE_SECONDS, connect=_CONNECT_SECONDS)) as store:
                sent = {**headers, "content-length": str(size)}
                return store.put(url, content=_pieces(body), headers=sent).status_code
        except httpx.HTTPError as error:
            raise StorageUnavailable(
                f"the store cannot be reached: {str(error) or type(error).__name__}",
                hint="file servers must reach it themselves where packs go straight there",
            ) from error


def _pieces(body: Sequence[Buffer]) -> Iterable[bytes]:
    for part in body:
        view = memoryview(part).cast("B")
        for at in range(0, view.nbytes, _PIECE):
            yield bytes(view[at : at + _PIECE])


_STORAGE_ERRORS: Mapping[str, Callable[[str, str], StorageError]] = {
    "StorageFull": lambda what, hint: StorageFull(what, hint=hint),
    "StorageError": lambda what, hint: StorageError(what, hint=hint),
}


def _storage_error(response: httpx.Response) -> BackstayError:
    what, hint, kind = problem_in(response)
    if kind == "ObjectExists":
        return ObjectExists(response.request.url.path.rpartition("/objects/")[2], hint=hint)
    if kind in _STORAGE_ERRORS:
        return _STORAGE_ERRORS[kind](what, hint)
    if response.status_code in {429, 500, 502, 503, 504}:
        return StorageUnavailable(what, hint=hint)
    if response.status_code in {401, 403}:
        return Forbidden(what, hint=hint)
    return StorageError(what, hint=hint)
