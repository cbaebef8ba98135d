"""Step 4: how much there is to back up, and how long it should take."""

from dataclasses import dataclass

from backstay.backup.scan import Found
from backstay.backup.scan_state import Facts


@dataclass(frozen=True)
class Estimate:
    """Files and bytes, in all and to read; seconds at this file server's measured speed, None if unknown."""

    files: int
    bytes: int
    changed_files: int
    changed_bytes: int
    seconds: float | None

    def figures(self) -> dict[str, int | float]:
        """By name, as a step records them."""
        figures: dict[str, int | float] = {
            "files": self.files,
            "bytes": self.bytes,
            "changed_files": self.changed_files,
            "changed_bytes": self.changed_bytes,
        }
        if self.seconds is not None:
            figures["seconds"] = round(self.seconds, 1)
        return figures


def estimate(found: Found, facts: Facts) -> Estimate:
    """Estimate from what the scan found, and the speed that earlier backups had."""
    seconds = None
    if facts.bytes_per_second > 0 and facts.files_per_second > 0:
        seconds = max(
            found.changed_bytes / facts.bytes_per_second, found.changed_files / facts.files_per_second
        )
    return Estimate(found.files, found.bytes, found.changed_files, found.changed_bytes, seconds)
