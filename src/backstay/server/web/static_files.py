"""Style sheets, scripts, the font and the icons, from memory.

Their address holds a digest of all of them, so a browser may keep them for ever and still sees a new version
at once; relative addresses inside style sheets stay within the same digest.
"""

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from backstay.domain.errors import BackstayError

PREFIX = "/static"

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
_PACKED_ALREADY = {"woff2"}
_FOR_EVER = "public, max-age=31536000, immutable"


class _StaticFile:
    """One file as it is sent, plain and, where that makes it smaller, packed with gzip."""

    def __init__(self, name: str, content: bytes) -> None:
        ending = name.rpartition(".")[2]
        self.type = _TYPES[ending]
        self.content = content
        self.packed = None if ending in _PACKED_ALREADY else gzip.compress(content, 9, mtime=0)


@cache
def _all_files() -> dict[str, _StaticFile]:
    """By their path below `static/`. Raises BackstayError where the build has left out the assets."""
    root = files("backstay.server.web") / "static"
    found = {name: _StaticFile(name, content) for name, content in _read(root, "")}
    if "vendor/htmx.js" not in found:
        raise BackstayError(
            "this installation lacks the console's style sheets and scripts",
            hint="install Backstay anew, from a wheel or, in a checkout, with `make setup`",
        )
    return found


def _read(folder: Traversable, above: str) -> list[tuple[str, bytes]]:
    found = []
    for one in folder.iterdir():
        if one.is_dir():
            found += _read(one, f"{above}{one.name}/")
        elif one.name.rpartition(".")[2] in _TYPES:
            found.append((above + one.name, one.read_bytes()))
    return found


@cache
def _digest() -> str:
    together = hashlib.sha256()
    for name, file in sorted(_all_files().items()):
        together.update(name.encode() + b"\0" + hashlib.sha256(file.content).digest())
    return together.hexdigest()[:12]


def static_address(name: str) -> str:
    """Where browsers find the file `name`, given as its path below `static/`."""
    return f"{PREFIX}/{_digest()}/{name}"


async def serve_static(request: Request) -> Response:
    """Answers `/static/{digest}/{name:path}`."""
    file = _all_files().get(request.path_params["name"])
    if file is None:
        return PlainTextResponse("There is no such file.", status_code=404)
    current = request.path_params["digest"] == _digest()
    headers = {"Cache-Control": _FOR_EVER if current else "no-cache", "Vary": "Accept-Encoding"}
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.type, headers=headers)
