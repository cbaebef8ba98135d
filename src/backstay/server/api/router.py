"""The API's nouns, one line each."""

from fastapi import APIRouter

from backstay.server.api import file_servers, restores, session

router = APIRouter(prefix="/api/v1")
router.include_router(file_servers.router)
router.include_router(restores.router)
router.include_router(session.router)
