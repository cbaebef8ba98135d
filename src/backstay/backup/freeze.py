"""Step 3: a recovery point of every volume that can be frozen; the others are read live."""

from dataclasses import dataclass, field

from backstay.backup.source import SourceRoot


@dataclass
class FrozenSource:
    """Where to read each source root, and what has to be given back.

    Attributes:
        roots: the source roots, those on frozen volumes leading into recovery points.
        messages: what was frozen, what is read live, and why.
    """

    roots: list[SourceRoot]
    messages: list[str] = field(default_factory=list)

    def release(self) -> list[str]:
        """Delete the recovery points that this backup took; says what could not be deleted. Never raises."""
        return []


def freeze(roots: list[SourceRoot], *, allow_live: bool) -> FrozenSource:
    """Take and validate recovery points.

    Raises:
        SourceError: a volume cannot be frozen and `allow_live` is False.
    """
    return FrozenSource(roots)
