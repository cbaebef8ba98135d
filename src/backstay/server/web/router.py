"""The console's pages, one family a line."""

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response
from starlette.routing import Route

from backstay.domain.errors import NotFound
from backstay.server.web import (
    administrators,
    alerts,
    audit,
    browse,
    download,
    file_servers,
    jobs,
    looks,
    overview,
    policies,
    policy_layers,
    restore,
    restore_order,
    rules,
    sets,
    settings,
    sign_in,
    storage,
)
from backstay.server.web.static_files import PREFIX, serve_static
from backstay.server.web.visit import PageRoute, failure_page

FAMILIES = (
    sign_in.router,
    administrators.router,
    overview.router,
    file_servers.router,
    jobs.router,
    sets.router,
    policies.router,
    policy_layers.router,
    rules.router,
    looks.router,
    storage.router,
    alerts.router,
    audit.router,
    settings.router,
    restore.router,
    restore_order.router,
    download.router,
    browse.router,
)
"""Of two routes that fit an address, the first in this order answers."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)
router.routes.append(Route(f"{PREFIX}/{{digest}}/{{name:path}}", serve_static))
for family in FAMILIES:
    router.include_router(family)


@router.get("/{path:path}")
def nothing_here(request: Request, path: str) -> Response:
    """Any other address a person may come to; programs are answered in their own words."""
    if path.startswith(("api/", "agent/")):
        raise HTTPException(404, "there is no such endpoint")
    return failure_page(request, NotFound("there is no such page", hint="look for it in the navigation"))
