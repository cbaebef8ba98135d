"""The folders of a plan by number, and where each of them lies at the target."""

from array import array

from backstay.restore.spool import FolderRecord, Spool

_PLACES_KEPT = 4096


class Folders:
    """All folders of a plan, in the order of the walk: a folder comes before what it holds.

    Number 0 is the target itself, which has no record. A folder takes 13 bytes of memory.

    Attributes:
        spool: their records.
    """

    def __init__(self) -> None:
        self.spool: Spool[FolderRecord] = Spool(FolderRecord)
        self._parents = array("I", [0])
        self._offsets = array("Q", [0])
        self._usable = bytearray(b"\1")

    def __len__(self) -> int:
        """How many there are, the target counted."""
        return len(self._parents)

    def add(self, record: FolderRecord) -> int:
        """Add a folder, and return its number."""
        self._offsets.append(self.spool.append(record))
        self._parents.append(record.parent)
        self._usable.append(1)
        return len(self._parents) - 1

    def offset(self, number: int) -> int:
        """Where the folder's record lies in the spool."""
        return self._offsets[number]

    def parent(self, number: int) -> int:
        """The folder's folder."""
        return self._parents[number]

    def is_usable(self, number: int) -> bool:
        """Whether it could be made or entered, so that something can be put into it."""
        return bool(self._usable[number])

    def give_up(self, number: int) -> None:
        """It could not be made: nothing below it can be restored."""
        self._usable[number] = 0

    def close(self) -> None:
        """Remove the records."""
        self.spool.close()


class Places:
    """Finds where folders are; one for each thread."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._reader = folders.spool.reader()
        self._known: dict[int, tuple[bytes, ...]] = {0: ()}

    def record(self, number: int) -> FolderRecord:
        """The folder's record; number 0 has none."""
        return self._reader.at(self._folders.offset(number))

    def components(self, number: int) -> tuple[bytes, ...]:
        """The names that lead from the target to the folder."""
        known = self._known
        place = known.get(number)
        if place is not None:
            return place
        names: list[bytes] = []
        above = number
        while above not in known:
            names.append(self.record(above).name)
            above = self._folders.parent(above)
        place = (*known[above], *reversed(names))
        if len(known) > _PLACES_KEPT:
            known.clear()
            known[0] = ()
        known[number] = place
        return place
