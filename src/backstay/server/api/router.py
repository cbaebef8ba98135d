"""The API's nouns, one line each."""

from fastapi import APIRouter, Depends

from backstay.server.api import (
    administrators,
    alerts,
    audit,
    backup_sets,
    browse,
    content_rules,
    file_servers,
    job_events,
    jobs,
    notifications,
    policies,
    previews,
    repositories,
    restore_points,
    restores,
    retention,
    session,
    setup,
    tokens,
)
from backstay.server.api.dependencies import keep_nowhere
from backstay.server.api.description import REFUSALS

router = APIRouter(prefix="/api/v1", dependencies=[Depends(keep_nowhere)], responses=REFUSALS)
router.include_router(alerts.router)
router.include_router(file_servers.router)
router.include_router(backup_sets.router)
router.include_router(policies.router)
router.include_router(content_rules.router)
router.include_router(previews.router)
router.include_router(jobs.router)
router.include_router(job_events.router)
router.include_router(restore_points.router)
router.include_router(notifications.router)
router.include_router(repositories.router)
router.include_router(browse.router)
router.include_router(restores.router)
router.include_router(retention.router)
router.include_router(session.router)
router.include_router(setup.router)
router.include_router(administrators.router)
router.include_router(tokens.router)
router.include_router(audit.router)
