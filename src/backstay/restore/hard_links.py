"""Which files of a restore point are names of one file, found with arrays on any number of them."""

from array import array
from collections.abc import Callable, Iterator

import numpy as np

from backstay.domain.entry import Entry
from backstay.restore.spool import FileRecord, LinkRecord, Spool


class HardLinks:
    """Collects the files that have several names, and ties those that belong together.

    Files belong together where device, inode, type and content agree; a number that the file server has
    given to another file meanwhile ties nothing.
    """

    def __init__(self) -> None:
        self._records: Spool[FileRecord] = Spool(FileRecord)
        self._devices, self._inodes, self._contents = array("Q"), array("Q"), array("q")

    def add(self, record: FileRecord) -> None:
        """Add a file whose link count is above one."""
        self._records.append(record)
        self._devices.append(record.entry.device)
        self._inodes.append(record.entry.inode)
        self._contents.append(_content_of(record.entry))

    def tie(self, links: Spool[LinkRecord], add_file: Callable[[FileRecord], bool]) -> Iterator[FileRecord]:
        """Give the first name of each file to `add_file`, and append the others to `links`.

        Args:
            add_file: returns False for a file that cannot be restored.

        Yields:
            Every name of the files that cannot be restored.
        """
        first_of = self._first_names()
        lost: set[int] = set()
        reader, firsts = self._records.reader(), self._records.reader()
        offsets = array("Q")
        at = 0
        for row in range(len(self._records)):
            offsets.append(at)
            record = reader.at(at)
            at = reader.next
            first = int(first_of[row])
            if first == row:
                if not add_file(record):
                    lost.add(row)
                    yield record
            elif first in lost:
                yield record
            else:
                other = firsts.at(offsets[first])
                links.append(LinkRecord(record.folder, record.action, record.name, other.folder, other.name))

    def _first_names(self) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
        """For each row the first row of the same file."""
        count = len(self._records)
        first = np.arange(count)
        if count < 2:
            return first
        columns = [
            np.frombuffer(column, np.uint64) for column in (self._contents, self._inodes, self._devices)
        ]
        order = np.lexsort(columns)
        new = np.ones(count, bool)
        new[1:] = False
        for column in columns:
            ordered = column[order]
            new[1:] |= ordered[1:] != ordered[:-1]
        starts = np.maximum.accumulate(np.where(new, np.arange(count), 0))
        first[order] = order[starts]
        return first

    def close(self) -> None:
        """Remove the temporary file."""
        self._records.close()


def _content_of(entry: Entry) -> int:
    return hash((entry.mode & 0o170000, entry.size, entry.mtime_ns, entry.rdev, entry.inline, entry.chunks))
