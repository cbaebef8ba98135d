"""`/metrics`: what Prometheus scrapes."""

import ipaddress

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from backstay.domain.errors import NotSignedIn
from backstay.server.access import Permission
from backstay.server.api.dependencies import ControlDep
from backstay.server.control import Control
from backstay.server.estate_metrics import EstateCollector
from backstay.server.sign_in import actor_of


def metrics_router(control: Control) -> APIRouter:
    """The page of one process."""
    router = APIRouter(include_in_schema=False)
    control.metrics.registry.register(EstateCollector(control))

    @router.get("/metrics")
    def metrics(control: ControlDep, request: Request) -> Response:
        """All metrics; takes an API token with the scope `view`, or the loopback address where allowed."""
        if not (control.settings.open_metrics and _is_local(request)):
            _require_token(request)
        return Response(generate_latest(control.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _require_token(request: Request) -> None:
    try:
        actor_of(request).require(Permission.VIEW)
    except NotSignedIn as error:
        raise NotSignedIn(
            error.what,
            hint="give Prometheus an API token with the scope view: authorization, credentials_file",
        ) from None


def _is_local(request: Request) -> bool:
    """Whether the request comes from this machine itself, and not through a proxy on it."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
