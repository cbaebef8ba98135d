"""The API's nouns, one line each."""

from fastapi import APIRouter

from backstay.server.api import file_servers, session

router = APIRouter(prefix="/api/v1")
router.include_router(file_servers.router)
router.include_router(session.router)
