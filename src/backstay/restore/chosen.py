"""The parts of a restore point that are restored."""

from collections.abc import Iterable, Iterator

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject, UsageError
from backstay.repository.browse import components
from backstay.repository.details import read_details
from backstay.repository.manifest import RestorePoint
from backstay.repository.tree import ReadBlob, find_entry
from backstay.system.calls import os


class Chosen:
    """A folder or file that is restored whole, or a folder above such, with its children that lead there."""

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        self.children: dict[bytes, Chosen] = {}

    def add(self, path: bytes) -> None:
        """Choose an absolute path."""
        node = self
        for name in components(path):
            node = node.children.setdefault(name, Chosen())
        node.whole = True


WHOLE = Chosen(whole=True)


def choose(paths: Iterable[bytes]) -> Chosen:
    """The parts that these absolute paths name."""
    top = Chosen()
    for path in paths:
        top.add(path)
    return top


def choose_set(point: RestorePoint, read: ReadBlob) -> Chosen:
    """The paths of the point's backup set, so that the folders above them count as such.

    Everything in the point where its details cannot tell.
    """
    try:
        paths = read_details(point.manifest.details, read).paths
        if not all(path.startswith(b"/") for path in paths):
            return WHOLE
        return choose(path for path in paths if entry_at(point, path, read) is not None)
    except DamagedObject:
        return WHOLE


def entry_at(point: RestorePoint, path: bytes, read: ReadBlob) -> Entry | None:
    """The entry at an absolute path, `/` not among them. Raises DamagedObject, KeyMissing, StorageError."""
    page: bytes | None = point.manifest.root
    entry: Entry | None = None
    for name in components(path):
        entry = find_entry(page, name, read) if page else None
        if entry is None:
            return None
        page = entry.page
    return entry


def chosen_children(
    page: bytes, chosen: Chosen, path: bytes, read: ReadBlob
) -> Iterator[tuple[Entry, Chosen]]:
    """The entries of a folder, itself not wholly chosen, that lead to something chosen.

    Raises:
        UsageError: there is none of that name.
        DamagedObject, KeyMissing, StorageError.
    """
    for name, part in sorted(chosen.children.items()):
        entry = find_entry(page, name, read)
        if entry is None:
            raise not_there(path + b"/" + name)
        if not part.whole and not entry.is_directory:
            raise not_there(path + b"/" + name + b"/" + next(iter(part.children)))
        yield entry, part


def not_there(path: bytes) -> UsageError:
    """The error for a path that the restore point does not have."""
    return UsageError(
        f"{os.fsdecode(path)!r} is not in this restore point",
        hint="`backstay repo files` shows what is in it",
    )
