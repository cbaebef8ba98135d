"""The write-only credential: a file that can back up, and can neither read nor delete.

It holds the repository's id, id key, catalogue key and public key, and where the
repository lies; nothing more. Who has it can add backups, and can see the *shape* of
what is stored (sizes, which blobs exist) but no name and no content.
"""

import base64
import binascii
import textwrap

import msgspec
from blake3 import blake3

from backstay.domain.errors import BackstayError, DamagedObject, UnsupportedVersion
from backstay.repository.encryption import MAGIC_BYTES, check_magic
from backstay.repository.key_slot import Bytes16, Bytes32
from backstay.repository.keyring import Secrets

_MAGIC = b"BSCREDN1"
_CHECKSUM_BYTES = 16
_MAX_BYTES = 64 * 1024
_BEGIN = "-----BEGIN BACKSTAY WRITE-ONLY CREDENTIAL-----"
_END = "-----END BACKSTAY WRITE-ONLY CREDENTIAL-----"
_HINT = "make it again with `backstay repo credential`"


class _Credential(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    repository_id: Bytes16
    id_key: Bytes32
    catalogue_key: Bytes32
    public_key: Bytes32
    location: bytes


_decoder = msgspec.msgpack.Decoder(_Credential)


def export_credential(secrets: Secrets, location: str) -> bytes:
    """The content of a credential file, ASCII text; the caller keeps the file to its owner (mode 0600).

    Between the BEGIN and END lines, in base64 (RFC 4648): magic, a msgpack array of
    repository id, id key, catalogue key, public key and location, and the first 16
    bytes of the BLAKE3 of all before. The location is UTF-8, with surrogateescape (PEP 383).
    """
    credential = _Credential(
        secrets.repository_id,
        secrets.id_key,
        secrets.catalogue_key,
        secrets.public_key,
        location.encode("utf-8", "surrogateescape"),
    )
    body = _MAGIC + msgspec.msgpack.encode(credential)
    armoured = base64.b64encode(body + blake3(body).digest(_CHECKSUM_BYTES)).decode("ascii")
    return "\n".join([_BEGIN, *textwrap.wrap(armoured, 64), _END, ""]).encode("ascii")


def load_credential(data: bytes, name: str) -> tuple[Secrets, str]:
    """The write-only secrets in a credential file, and where its repository lies.

    Text before BEGIN and after END is passed over.

    Args:
        data: the file's content.
        name: the file, for error messages.

    Raises:
        UnsupportedVersion: a newer Backstay made it.
        DamagedObject: it is no credential, or was altered.
    """
    try:
        credential = _decode(data[: _MAX_BYTES + 1], name)
    except UnsupportedVersion:
        raise
    except BackstayError as error:
        error.hint = _HINT
        raise
    secrets = Secrets(
        credential.repository_id, credential.id_key, credential.catalogue_key, credential.public_key
    )
    return secrets, credential.location.decode("utf-8", "surrogateescape")


def _decode(data: bytes, name: str) -> _Credential:
    _, begin, rest = data.partition(_BEGIN.encode())
    armoured, end, _ = rest.partition(_END.encode())
    if not begin or not end:
        raise DamagedObject(name, "it is not a Backstay credential, or not a whole one")
    try:
        body = base64.b64decode(b"".join(armoured.split()), validate=True)
    except binascii.Error as error:
        raise DamagedObject(name, f"its text was altered ({error})") from None
    check_magic(_MAGIC, body, name)
    if blake3(body[:-_CHECKSUM_BYTES]).digest(_CHECKSUM_BYTES) != body[-_CHECKSUM_BYTES:]:
        raise DamagedObject(name, "its checksum does not fit")
    try:
        return _decoder.decode(body[MAGIC_BYTES:-_CHECKSUM_BYTES])
    except msgspec.MsgspecError as error:
        raise DamagedObject(name, f"its content cannot be read ({error})") from None
