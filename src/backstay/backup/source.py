"""The places that a backup reads: the set's paths, and where their frozen views are."""

import stat
from dataclasses import dataclass, field

from backstay.domain.entry import Grade
from backstay.domain.errors import SourceError
from backstay.system.calls import os
from backstay.system.host import quoted_path


@dataclass(frozen=True)
class SourceRoot:
    """One path of the set.

    Attributes:
        path: the original path without its leading slash; empty for the whole file system.
        actual: where to read it: below a recovery point, or the same place live.
        grade: of files that do not change while they are read.
        parts: folders below on other volumes, by original path, deepest first, and the grade there.
    """

    path: bytes
    actual: bytes
    grade: Grade = Grade.STABLE
    parts: tuple[tuple[bytes, Grade], ...] = ()

    @property
    def grades(self) -> list[Grade]:
        """Of everything in it: of the root, and of each part."""
        return [self.grade, *(grade for _, grade in self.parts)]

    def grade_at(self, path: bytes) -> Grade:
        """The grade of files in the folder of this original path, which is the root or below it."""
        return next((grade for part, grade in self.parts if _is_below(path, part)), self.grade)


@dataclass
class RootNode:
    """A folder above the set's paths: its children lead to them."""

    children: dict[bytes, "RootNode"] = field(default_factory=dict)
    root: int | None = None


def choose_roots(paths: list[bytes]) -> tuple[list[SourceRoot], list[tuple[bytes, str]]]:
    """The source roots of the paths that a user gave, read live, and the paths that cannot be had.

    A path inside another one is dropped.

    Raises:
        SourceError: no path is there at all.
    """
    absolute = sorted({os.path.abspath(path) for path in paths})
    missing: list[tuple[bytes, str]] = []
    roots: list[SourceRoot] = []
    for path in absolute:
        relative = path.lstrip(b"/")
        if any(_is_below(relative, root.path) for root in roots):
            continue
        try:
            os.lstat(path)
        except OSError as error:
            missing.append((path, (error.strerror or str(error)).lower()))
            continue
        roots.append(SourceRoot(relative, path))
    if not roots:
        path, reason = missing[0]
        raise SourceError(
            f"{quoted_path(path)} cannot be backed up: {reason}", hint="check the path and its spelling"
        )
    return roots, missing


def _is_below(path: bytes, above: bytes) -> bool:
    return not above or path == above or path.startswith(above + b"/")


def tree_of_roots(roots: list[SourceRoot]) -> RootNode:
    """The folders that lead from the file system's root to the source roots."""
    top = RootNode()
    for number, root in enumerate(roots):
        node = top
        for name in root.path.split(b"/") if root.path else []:
            node = node.children.setdefault(name, RootNode())
        node.root = number
    return top


def is_folder(root: SourceRoot) -> bool:
    """Whether the source root is a directory. Raises OSError."""
    return stat.S_ISDIR(os.lstat(root.actual).st_mode)


def parent_of(path: bytes) -> bytes:
    """The folder in which an actual path lies."""
    return os.path.dirname(path) or b"/"
