"""Where each kind of object lies in the storage. docs/format.md shows the tree."""

CONFIG = "config"
KEYS = "keys/"
PACKS = "packs/"
INDEX = "index/"
MANIFESTS = "manifests/"
EXPIRIES = "expiries/"
SESSIONS = "sessions/"
TOMBSTONES = "tombstones/"
MAINTENANCE = "maintenance/"


def pack_name(digest: bytes) -> str:
    """Storage name of the pack whose bytes have this BLAKE3 digest."""
    text = digest.hex()
    return f"{PACKS}{text[:2]}/{text}"


def object_name(prefix: str, digest: bytes) -> str:
    """Storage name of a content-named object of a folder that is not split."""
    return f"{prefix}{digest.hex()}"


def digest_of(name: str) -> bytes | None:
    """The digest that a content-named object's name carries, or None where it carries none."""
    try:
        digest = bytes.fromhex(name.rpartition("/")[2])
    except ValueError:
        return None
    return digest if len(digest) == 32 else None
