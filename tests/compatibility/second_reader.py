"""A second reader of Backstay repositories, written from docs/format.md alone.

It imports nothing of Backstay: what it can read, a stranger could. Everything is kept in
memory, and a ValueError is raised where something is not as the page says.
"""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ENTRY = (
    *("name", "mode", "uid", "gid", "size", "mtime_ns", "ctime_ns", "inode", "nlink", "grade"),
    *("inline", "chunks", "page", "device", "xattrs", "flags", "rdev", "totals", "user", "group"),
)
MANIFEST = (
    *("version", "repository", "file_server", "backup_set", "sequence", "previous", "session", "time_ns"),
    *("type", "root", "details", "totals", "problems", "read_bytes", "new_bytes", "stored_bytes"),
    "software",
)
DETAILS = ("version", "manifest", "paths", "rules", "steps", "problems")
unpack = msgspec.msgpack.decode


def require(condition: object, what: str) -> None:
    """Raise ValueError unless the condition holds."""
    if not condition:
        raise ValueError(what)


def recovery_secret(text: str) -> bytes | None:
    """The 32 bytes of a recovery key (Recovery key as text), or None where the text is none."""
    letters = "".join(text.upper().replace("-", "").replace("–", "").split())
    letters = letters.translate(str.maketrans("OIL", "011"))
    if len(letters) != 65 or set(letters) - set(LETTERS):
        return None
    number = 0
    for group in range(13):
        five = [LETTERS.index(letter) for letter in letters[group * 5 : group * 5 + 5]]
        value = group + 1
        for digit in (*five[:4], 0):
            value = (value << 1) ^ (0b100101 if value & 16 else 0) ^ digit
        if value != five[4]:
            return None
        for digit in five[:4]:
            number = number << 5 | digit
    return number.to_bytes(32, "big") if number < 1 << 256 else None


def open_envelope(key: bytes, magic: bytes, data: bytes) -> bytes:
    """The plaintext of an envelope (Envelope)."""
    require(data[:8] == magic, f"no {magic!r}")
    one_time_key = blake3(data[:40], key=key).digest()
    try:
        return AESGCM(one_time_key).decrypt(bytes(12), data[40:], magic)
    except InvalidTag:
        raise ValueError(f"{magic!r} does not open") from None


class SecondReader:
    """A repository in a folder, opened with a passphrase or a recovery key.

    Args:
        from_trailers: find blobs by the trailers of all packs, not by the index.
    """

    def __init__(self, folder: Path, secret: str, *, from_trailers: bool = False) -> None:
        self.folder = folder
        keyring = self._open_keyring(secret)
        self.repository_id, self.id_key, self.catalogue_key = keyring[0], keyring[3], keyring[4]
        self.private_keys = [X25519PrivateKey.from_private_bytes(key) for key in keyring[6]]
        self._check_config()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._trailers: dict[bytes, list[Any]] = {}
        self._frames: dict[tuple[bytes, int], bytes] = {}
        self.where = self._places_from_trailers() if from_trailers else self._places_from_index()

    def _objects(self, prefix: str) -> Iterator[tuple[bytes, bytes]]:
        """Digest and bytes of every object under a prefix; each is named by the BLAKE3 of its bytes."""
        for path in sorted((self.folder / prefix).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                require(path.name == blake3(data).hexdigest(), f"{path.name} is not what its name says")
                yield bytes.fromhex(path.name), data

    def _open_keyring(self, secret: str) -> list[Any]:
        """The newest keyring that the secret opens, with the private keys of all (Key slots)."""
        recovery = recovery_secret(secret)
        found: list[list[Any]] = []
        for _, data in self._objects("keys"):
            require(data[:8] == b"BSKEYSL1", "not a key slot")
            slot_id, _, _, derivation, public_key, _, _, sealed = unpack(data[8:-32])
            kind, salt, *cost = derivation
            if kind == "argon2id":
                costs = dict(zip(("iterations", "memory_cost", "lanes"), cost, strict=True))
                text = unicodedata.normalize("NFC", secret).encode("utf-8", "surrogateescape")
                stretched = Argon2id(salt=salt, length=64, **costs).derive(text)
            elif recovery is not None:
                hkdf = HKDF(algorithm=SHA256(), length=64, salt=salt, info=b"backstay 1 recovery slot")
                stretched = hkdf.derive(recovery)
            else:
                continue
            private_key = X25519PrivateKey.from_private_bytes(stretched[:32])
            if private_key.public_key().public_bytes_raw() != public_key:
                continue
            require(blake3(data[:-32], key=stretched[32:]).digest() == data[-32:], "a slot's MAC is wrong")
            found.append(unpack(SUITE.decrypt(sealed, private_key, b"backstay 1 keyring" + slot_id)))
        require(found, "no slot opens with that")
        newest = max(found, key=lambda keyring: (keyring[1], keyring[2]))
        newest[6] = list(dict.fromkeys(key for keyring in found for key in keyring[6]))
        return newest

    def _check_config(self) -> None:
        config = json.loads((self.folder / "config").read_bytes())
        require(config["what"] == "backstay repository" and config["version"] == 1, "no version 1")
        require(bytes.fromhex(config["id"]) == self.repository_id, "the config is of another repository")
        seal = config.pop("seal")
        canonical = json.dumps(config, sort_keys=True, separators=(", ", ": "), ensure_ascii=True)
        require(blake3(canonical.encode(), key=self.catalogue_key).hexdigest() == seal, "a forged config")

    def _places_from_index(self) -> dict[bytes, list[tuple[bytes, int, int, int]]]:
        """For each id prefix: pack, frame, offset, length (Index runs)."""
        places: dict[bytes, list[tuple[bytes, int, int, int]]] = {}
        for _, sealed in self._objects("index"):
            run = open_envelope(self.catalogue_key, b"BSINDEX1", sealed)
            count, packs = int.from_bytes(run[8:16], "little"), int.from_bytes(run[16:20], "little")
            require(run[:8] == b"BSINDEX1" and len(run) == 32 + 48 * packs + 32 * count, "no run")
            table = [run[32 + 48 * n : 64 + 48 * n] for n in range(packs)]
            at, columns = 32 + 48 * packs, []
            for width in (8, 8, 4, 4, 4, 4):
                column = run[at : at + width * count]
                cells = range(0, len(column), width)
                columns.append([int.from_bytes(column[n : n + width], "little") for n in cells])
                at += width * count
            for high, low, pack, frame, offset, length in zip(*columns, strict=True):
                prefix = high.to_bytes(8, "big") + low.to_bytes(8, "big")
                places.setdefault(prefix, []).append((table[pack], frame, offset, length))
        return places

    def _places_from_trailers(self) -> dict[bytes, list[tuple[bytes, int, int, int]]]:
        places: dict[bytes, list[tuple[bytes, int, int, int]]] = {}
        for digest, data in self._objects("packs"):
            _, _, _, _, ids, kinds, *columns, _ = self._trailer(digest, data)
            for row in range(len(kinds)):
                frame, offset, length = (
                    int.from_bytes(column[4 * row : 4 * row + 4], "little") for column in columns
                )
                prefix = ids[32 * row : 32 * row + 16]
                places.setdefault(prefix, []).append((digest, frame, offset, length))
        return places

    def _trailer(self, digest: bytes, pack: bytes) -> list[Any]:
        if digest not in self._trailers:
            require(pack[:8] == b"BSPACK01" and pack[-8:] == b"BSPKEND1", "not a pack")
            start = len(pack) - 16 - int.from_bytes(pack[-16:-8], "little")
            trailer = unpack(open_envelope(self.catalogue_key, b"BSTRAIL1", pack[start:-16]))
            require(trailer[0] == 1, "a trailer of another version")
            require(8 + sum(frame[1] for frame in trailer[3]) == start, "frames do not fill the pack")
            self._trailers[digest] = trailer
        return self._trailers[digest]

    def _frame(self, digest: bytes, number: int) -> bytes:
        """The raw bytes of a frame (Frames)."""
        if (digest, number) not in self._frames:
            pack = (self.folder / "packs" / digest.hex()[:2] / digest.hex()).read_bytes()
            trailer = self._trailer(digest, pack)
            offset, length, raw_length, key, counter = trailer[3][number]
            sealed, nonce = pack[offset : offset + length], counter.to_bytes(12, "big")
            packed = self._cipher(trailer[2][key]).decrypt(nonce, sealed, b"BSFRAME1")
            raw = zstandard.ZstdDecompressor().decompress(packed, max_output_size=raw_length)
            require(len(raw) == raw_length, "a frame of another length")
            self._frames[digest, number] = raw
        return self._frames[digest, number]

    def _cipher(self, sealed_key: bytes) -> AESGCM:
        for private_key in self.private_keys:
            if sealed_key in self._ciphers:
                break
            try:
                key = SUITE.decrypt(sealed_key, private_key, b"backstay 1 frame key" + self.repository_id)
            except InvalidTag:
                continue
            self._ciphers[sealed_key] = AESGCM(key)
        require(sealed_key in self._ciphers, "no private key opens a data key")
        return self._ciphers[sealed_key]

    def blob(self, blob_id: bytes) -> bytes:
        """A blob's content, checked against its id."""
        for pack, frame, offset, length in self.where.get(blob_id[:16], ()):
            content = self._frame(pack, frame)[offset : offset + length]
            if len(content) == length and blake3(content, key=self.id_key).digest() == blob_id:
                return content
        raise ValueError(f"blob {blob_id.hex()} is nowhere")

    def points(self) -> dict[str, dict[str, Any]]:
        """Every restore point, by its id in hexadecimal, oldest first."""
        found = {}
        for digest, sealed in self._objects("manifests"):
            manifest = unpack(open_envelope(self.catalogue_key, b"BSMANIF1", sealed))
            require(manifest[0] == 1 and manifest[1] == self.repository_id, "a manifest of something else")
            found[digest.hex()] = dict(zip(MANIFEST, manifest, strict=False))
        return dict(sorted(found.items(), key=lambda item: (item[1]["time_ns"], item[1]["sequence"])))

    def details(self, point: dict[str, Any]) -> dict[str, Any]:
        """What was asked for, how it went, and every problem: path, reason, grade."""
        details = dict(zip(DETAILS, unpack(self.blob(point["details"])), strict=False))
        details["problems"] = [row for page in details["problems"] for row in unpack(self.blob(page))[1]]
        return details

    def entries(self, page: bytes) -> Iterator[dict[str, Any]]:
        """The entries of a folder, given its page."""
        version, level, rows = unpack(self.blob(page))
        require(version == 1, "a page of another version")
        for row in rows:
            if level:
                yield from self.entries(row[1])
            else:
                yield dict(zip(ENTRY, row, strict=True))

    def walk(self, page: bytes, above: bytes = b"") -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Path and entry of everything below a page; a folder before what it holds."""
        for entry in self.entries(page):
            path = above + b"/" + entry["name"]
            yield path, entry
            if entry["page"]:
                yield from self.walk(entry["page"], path)

    def pieces(self, chunks: list[list[Any]]) -> Iterator[tuple[int, bytes | None]]:
        """Length and bytes of each piece of a file's content; None stands for a hole."""
        for length, blob_id, depth in chunks:
            if depth:
                yield from self.pieces(unpack(self.blob(blob_id))[1])
                continue
            content = None if blob_id is None else self.blob(blob_id)
            require(content is None or len(content) == length, "a chunk of another length")
            yield length, content
