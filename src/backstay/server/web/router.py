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
    overview,
    policies,
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

router = APIRouter(route_class=PageRoute, include_in_schema=False)
router.routes.append(Route(f"{PREFIX}/{{digest}}/{{name:path}}", serve_static))
router.include_router(sign_in.router)
router.include_router(administrators.router)
router.include_router(overview.router)
router.include_router(file_servers.router)
router.include_router(jobs.router)
router.include_router(sets.router)
router.include_router(policies.router)
router.include_router(rules.router)
router.include_router(storage.router)
router.include_router(alerts.router)
router.include_router(audit.router)
router.include_router(settings.router)
router.include_router(restore.router)
router.include_router(restore_order.router)
router.include_router(download.router)
router.include_router(browse.router)


@router.get("/{path:path}")
def nothing_here(request: Request, path: str) -> Response:
    """Any other address a person may come to; programs are answered in their own words."""
    if path.startswith(("api/", "agent/")):
        raise HTTPException(404, "there is no such endpoint")
    return failure_page(request, NotFound("there is no such page", hint="look for it in the navigation"))
