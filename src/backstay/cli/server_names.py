"""What users call things on a server: by name where that is unique, sets as FILE-SERVER/SET, or by number."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backstay.domain.errors import NotFound, UsageError

if TYPE_CHECKING:
    from backstay.cli.server_client import ServerClient

_SHOWN = 5


def find_file_server(client: "ServerClient", wanted: str) -> Any:
    """The file server of this name or number. Raises NotFound."""
    return _named(client, "/file-servers", wanted, "file server", "file-servers")


def find_policy(client: "ServerClient", wanted: str) -> Any:
    """The policy of this name or number. Raises NotFound."""
    return _named(client, "/policies", wanted, "policy", "policies")


def find_rule(client: "ServerClient", wanted: str) -> Any:
    """The content rule of this name or number. Raises NotFound."""
    return _named(client, "/content-rules", wanted, "content rule", "rules")


def find_set(client: "ServerClient", wanted: str) -> Any:
    """The backup set called SET or FILE-SERVER/SET, or of this number.

    Raises:
        NotFound: there is none.
        UsageError: there are several of that name.
    """
    if wanted.isdecimal():
        return client.get(f"/backup-sets/{wanted}")
    file_server, _, name = wanted.rpartition("/")
    query = {"name": name, "file_server": file_server or None}
    found: Sequence[Any] = client.get("/backup-sets", query)["items"]
    if not found:
        raise NotFound(f"there is no backup set {wanted}", hint="`backstay sets list` lists them")
    if len(found) > 1:
        names = ", ".join(full_name(one) for one in found[:_SHOWN])
        more = ", …" if len(found) > _SHOWN else ""
        raise UsageError(f"several backup sets are called {name}: {names}{more}", hint="name one of these")
    return found[0]


def split_set_name(wanted: str) -> tuple[str, str]:
    """File server and set of a name for a new set. Raises UsageError."""
    file_server, slash, name = wanted.rpartition("/")
    if not slash or not file_server or not name:
        raise UsageError(f"{wanted} names no file server", hint="write FILE-SERVER/SET")
    return file_server, name


def full_name(backup_set: Any) -> str:
    """A set as it can be named anywhere."""
    return f"{backup_set['file_server']['name']}/{backup_set['name']}"


def _named(client: "ServerClient", path: str, wanted: str, what: str, command: str) -> Any:
    if wanted.isdecimal():
        return client.get(f"{path}/{wanted}")
    for one in client.pages(path, {"search": wanted, "limit": 1000}):
        if one["name"] == wanted:
            return one
    raise NotFound(f"there is no {what} {wanted}", hint=f"`backstay {command} list` lists them")
