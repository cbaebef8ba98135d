"""Reading blobs back: locate, fetch the frame, open, decompress, check against the id."""

from collections import OrderedDict
from threading import Lock

from backstay.domain.errors import DamagedObject, ObjectNotFound
from backstay.repository.compression import decompress
from backstay.repository.encryption import BlobHasher, FrameOpener, frame_nonce
from backstay.repository.index import Index, Location
from backstay.repository.layout import pack_name
from backstay.repository.pack import Trailer, read_trailer
from backstay.storage.interface import Buffer, Storage

_FRAME_CACHE_BYTES = 48 << 20
_TRAILERS_KEPT = 64


class BlobReader:
    """Reads blobs of a repository. Safe to use from several threads.

    A blob that lies in several packs is read from the next one where the first fails.
    """

    def __init__(
        self,
        storage: Storage,
        index: Index,
        *,
        opener: FrameOpener,
        blob_id: BlobHasher,
        catalogue_key: bytes,
    ) -> None:
        self._storage = storage
        self._index = index
        self._opener = opener
        self.blob_id = blob_id
        self._catalogue_key = catalogue_key
        self._lock = Lock()
        self._trailers: OrderedDict[bytes, Trailer] = OrderedDict()
        self._frames: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._frame_bytes = 0

    def read(self, blob_id: bytes) -> bytes:
        """The content of a blob, checked.

        Raises:
            DamagedObject: it is nowhere, or nowhere intact.
            KeyMissing: the key at hand cannot read.
        """
        failure: DamagedObject | None = None
        for location in self._index.locations(blob_id):
            try:
                raw = self.frame(location.pack, location.frame)
                content = raw[location.offset : location.offset + location.length]
                if self.blob_id(content) == blob_id:
                    return content
                failure = DamagedObject(pack_name(location.pack), "a blob in it is not what its id says")
            except DamagedObject as error:
                failure = error
            except ObjectNotFound as error:
                failure = DamagedObject(error.name, "it is missing")
        if failure is not None:
            raise failure
        raise DamagedObject(
            f"blob {blob_id.hex()[:16]}",
            "no pack in the index holds it",
            hint="run `backstay repo rebuild`, then `backstay repo verify`",
        )

    def trailer(self, pack: bytes) -> Trailer:
        """The trailer of a pack. Raises ObjectNotFound, DamagedObject."""
        with self._lock:
            trailer = self._trailers.get(pack)
            if trailer is not None:
                self._trailers.move_to_end(pack)
                return trailer
        trailer = read_trailer(self._storage, pack_name(pack), self._catalogue_key)
        with self._lock:
            self._trailers[pack] = trailer
            while len(self._trailers) > _TRAILERS_KEPT:
                self._trailers.popitem(last=False)
        return trailer

    def frame(self, pack: bytes, number: int) -> bytes:
        """The raw bytes of a frame, from memory where it was read lately.

        Raises:
            ObjectNotFound, DamagedObject, KeyMissing.
        """
        key = (pack, number)
        with self._lock:
            raw = self._frames.get(key)
            if raw is not None:
                self._frames.move_to_end(key)
                return raw
        trailer = self.trailer(pack)
        if number >= len(trailer.frames):
            raise DamagedObject(pack_name(pack), f"the index expects a frame {number} that it does not have")
        record = trailer.frames[number]
        sealed = self._storage.get(pack_name(pack), record.offset, record.length)
        raw = self.open_frame(pack, trailer, number, sealed)
        with self._lock:
            if key not in self._frames:
                self._frames[key] = raw
                self._frame_bytes += len(raw)
            while self._frame_bytes > _FRAME_CACHE_BYTES:
                _, dropped = self._frames.popitem(last=False)
                self._frame_bytes -= len(dropped)
        return raw

    def open_frame(self, pack: bytes, trailer: Trailer, number: int, sealed: Buffer) -> bytes:
        """The raw bytes of a frame, given its sealed ones. Raises DamagedObject, KeyMissing."""
        record = trailer.frames[number]
        name = pack_name(pack)
        compressed = self._opener.open_frame(
            trailer.keys[record.key], frame_nonce(record.number), sealed, name
        )
        try:
            return decompress(compressed, record.raw_length)
        except ValueError as error:
            raise DamagedObject(name, f"in frame {number} {error}") from error

    def locate(self, blob_id: bytes) -> Location | None:
        """Where the index says that the blob lies."""
        return self._index.locate(blob_id)
