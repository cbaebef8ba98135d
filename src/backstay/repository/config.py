"""The `config` object: says that there is a repository, which one, and of which version.

It is JSON, so that a person can read it; its `seal` is BLAKE3 keyed with the catalogue
key over the other members, so that a forged one is noticed by everyone who can open
the repository.
"""

import json
import time

from blake3 import blake3

from backstay.domain.errors import DamagedObject, NoRepository, ObjectNotFound, UnsupportedVersion
from backstay.repository.layout import CONFIG
from backstay.storage.interface import Storage

VERSION = 1
_WHAT = "backstay repository"


def put_config(storage: Storage, repository_id: bytes, catalogue_key: bytes, now: float) -> None:
    """Store the config of a new repository. Raises ObjectExists if there is another."""
    content: dict[str, object] = {
        "what": _WHAT,
        "version": VERSION,
        "id": repository_id.hex(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
    }
    content["seal"] = _seal(content, catalogue_key)
    storage.put(CONFIG, [json.dumps(content, indent=1).encode() + b"\n"])


def read_config(storage: Storage) -> tuple[bytes, dict[str, object]]:
    """The repository's id, and the whole config, whose seal `check_config` can check.

    Raises:
        NoRepository: there is none at this place.
        UnsupportedVersion: it was made by a newer Backstay.
        DamagedObject.
    """
    try:
        raw = storage.get(CONFIG)
    except ObjectNotFound as error:
        raise NoRepository(
            f"there is no Backstay repository in {storage.location}",
            hint="check the path, or make one with `backstay repo init`",
        ) from error
    try:
        content = json.loads(raw)
        if not isinstance(content, dict) or content.get("what") != _WHAT:
            raise ValueError("it describes something else")
        version = content.get("version")
        if isinstance(version, int) and version > VERSION:
            raise UnsupportedVersion(
                f"the repository in {storage.location} has format version {version}; "
                f"this Backstay knows version {VERSION}",
                hint="use a newer Backstay",
            )
        repository_id = bytes.fromhex(content["id"])
        if version != VERSION or len(repository_id) != 16:
            raise ValueError("its version or id is impossible")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedObject(CONFIG, f"it cannot be understood ({error})") from error
    return repository_id, content


def check_config(content: dict[str, object], catalogue_key: bytes) -> None:
    """Raises DamagedObject if the config is not what was stored."""
    if content.get("seal") != _seal(content, catalogue_key):
        raise DamagedObject(CONFIG, "its seal does not fit its content")


def _seal(content: dict[str, object], catalogue_key: bytes) -> str:
    members = {name: value for name, value in content.items() if name != "seal"}
    return blake3(json.dumps(members, sort_keys=True).encode(), key=catalogue_key).hexdigest()
