"""Entries of folders by name, with the pages that were looked at lately kept decoded."""

from bisect import bisect_right
from collections import OrderedDict
from threading import Lock
from typing import Final, NamedTuple

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject
from backstay.repository.tree import PageRow, ReadBlob, decode_page
from backstay.repository.tree_check import MOST_LEVELS

ROWS_KEPT: Final = 50_000
"""Pages are kept until they have more rows than this in all: about 40 MB."""


class _Above(NamedTuple):
    """A page of pages: lower bounds of their names, and their ids."""

    firsts: list[bytes]
    pages: list[bytes]


_Node = dict[bytes, Entry] | _Above


class PageCache:
    """Looks names up in folders. Safe to use from several threads."""

    def __init__(self, read: ReadBlob) -> None:
        self._read = read
        self._nodes: OrderedDict[bytes, _Node] = OrderedDict()
        self._rows = 0
        self._lock = Lock()

    def find(self, page: bytes, name: bytes) -> Entry | None:
        """The entry of this name in the folder that `page` stands for, or None.

        Raises:
            DamagedObject, UnsupportedVersion, KeyMissing, StorageError.
        """
        top = page
        for _ in range(MOST_LEVELS + 1):
            node = self._node(page)
            if not isinstance(node, _Above):
                return node.get(name)
            row = bisect_right(node.firsts, name) - 1
            if row < 0:
                return None
            page = node.pages[row]
        raise DamagedObject(f"page {top.hex()[:16]}", f"more than {MOST_LEVELS} pages lie below it")

    def _node(self, page: bytes) -> _Node:
        with self._lock:
            node = self._nodes.get(page)
            if node is not None:
                self._nodes.move_to_end(page)
                return node
        node = _decoded(self._read(page), page)
        with self._lock:
            if page not in self._nodes:
                self._nodes[page] = node
                self._rows += _weight(node)
            while self._rows > ROWS_KEPT and len(self._nodes) > 1:
                _, dropped = self._nodes.popitem(last=False)
                self._rows -= _weight(dropped)
        return node


def _decoded(data: bytes, page: bytes) -> _Node:
    entries: dict[bytes, Entry] = {}
    above = _Above([], [])
    for row in decode_page(data, page):
        if isinstance(row, PageRow):
            above.firsts.append(row.first)
            above.pages.append(row.page)
        else:
            entries[row.name] = row
    return above if above.pages else entries


def _weight(node: _Node) -> int:
    return 1 + len(node.pages if isinstance(node, _Above) else node)
