"""Paths in addresses and forms: bytes, percent-encoded, so that every file name survives."""

from urllib.parse import parse_qsl, quote, unquote_to_bytes

from fastapi import Request
from starlette.datastructures import FormData

from backstay.domain.errors import UsageError
from backstay.repository.browse import components


def quoted(path: bytes) -> str:
    """A path as it stands in an address or a form's value."""
    return quote(path, safe="/")


def unquoted(text: str) -> bytes:
    """The path that was quoted, absolute and without `..`."""
    return b"/" + b"/".join(components(unquote_to_bytes(text)))


def path_in(request: Request, name: str = "path") -> bytes:
    """The path in a request's address; `/` where there is none. Raises UsageError."""
    for key, value in _query(request):
        if key == name.encode():
            return b"/" + b"/".join(components(value))
    return b"/"


def paths_in(request: Request, name: str = "path") -> list[bytes]:
    """All paths of that name in a request's address."""
    return [b"/" + b"/".join(components(value)) for key, value in _query(request) if key == name.encode()]


def name_in(request: Request, name: str) -> bytes | None:
    """A single file name in a request's address."""
    return next((value for key, value in _query(request) if key == name.encode()), None)


def _query(request: Request) -> list[tuple[bytes, bytes]]:
    query: bytes = request.scope.get("query_string", b"")
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=10_000)
    except ValueError:
        raise UsageError("the address names too many files", hint="choose a folder above them") from None


def chosen_paths(form: FormData, name: str = "path") -> list[bytes]:
    """The paths that were chosen in a form."""
    return [unquoted(value) for value in form.getlist(name) if isinstance(value, str)]


def below(folder: bytes, name: bytes) -> bytes:
    """The path of an entry of a folder."""
    return folder.rstrip(b"/") + b"/" + name
