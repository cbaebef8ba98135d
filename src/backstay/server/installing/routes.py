"""Where machines fetch the scripts and packages. Anybody may: there is no secret in them."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, PlainTextResponse
from starlette.responses import Response

from backstay.server.api.dependencies import ControlDep, public
from backstay.server.control import Control
from backstay.server.installing import packages, scripts

router = APIRouter(include_in_schema=False, dependencies=[Depends(public)])


def address_of(control: Control, request: Request) -> str:
    """The address at which this server is reached."""
    return (control.settings.public_url or str(request.base_url)).rstrip("/")


@router.get("/install.sh")
def for_linux(control: ControlDep, request: Request) -> Response:
    """The script that installs the agent on Linux."""
    return _script(control, request, scripts.LINUX)


@router.get("/install.ps1")
def for_windows(control: ControlDep, request: Request) -> Response:
    """The script that installs the agent on Windows."""
    return _script(control, request, scripts.WINDOWS)


def _script(control: Control, request: Request, script: str) -> Response:
    text = packages.script_text(control.settings, script, address_of(control, request))
    if text is None:
        what = "This server has no agent for that system yet; its console says how to put one there:"
        where = f"{address_of(control, request)}/file-servers/enrol"
        return PlainTextResponse(f"# {what}\n# {where}\n", status_code=404)
    return PlainTextResponse(text, headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"})


@router.get("/agents/{name}")
def package(control: ControlDep, name: str) -> Response:
    """A package, if it is the one that a script installs now."""
    for script in (scripts.LINUX, scripts.WINDOWS):
        found = packages.package_for(control.settings, script)
        if found is not None and found.name == name:
            return FileResponse(found.path, media_type="application/octet-stream", filename=found.name)
    return PlainTextResponse("There is no such package.\n", status_code=404)
