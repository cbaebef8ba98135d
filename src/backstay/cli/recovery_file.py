"""The file with a recovery key sheet, made before the key: no key is made that could not be kept."""

from contextlib import suppress
from pathlib import Path
from types import TracebackType

from backstay.domain.errors import StorageError, UsageError
from backstay.system.calls import os


class RecoveryFile:
    """Holds an empty file, readable by its owner only, beside the place of the sheet until `write`.

    Args:
        wanted: where the sheet goes; None for `backstay-recovery-<id>.txt` in the working folder.

    Raises:
        UsageError: there is something at that place already, or nothing can be written there.
    """

    def __init__(self, wanted: Path | None) -> None:
        self._wanted = wanted
        self._folder = wanted.parent if wanted is not None else Path()
        if wanted is not None and os.path.lexists(wanted):
            raise _taken(wanted)
        self._aside = self._folder / f".backstay-recovery-{os.getpid()}.unfinished"
        try:
            self._fd = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"the recovery key sheet cannot be written to {self._folder.absolute()}: {error.strerror}",
                hint="choose another place with --recovery-sheet FILE",
            ) from None

    def __enter__(self) -> "RecoveryFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        with suppress(OSError):
            self._aside.unlink()

    def refuse_inside(self, location: str) -> None:
        """Raises UsageError where the sheet would lie in the repository: whoever took it had the key too."""
        inside = Path(location).resolve()
        if inside in (self._folder.resolve() / "sheet").parents:
            raise UsageError(
                "the recovery key sheet would lie inside the repository",
                hint="choose another place with --recovery-sheet FILE",
            )

    def write(self, repository_id: bytes, text: str) -> Path:
        """Write the sheet durably under its name, over nothing, and return that name.

        Raises:
            StorageError: the key is in force, yet it could not be kept.
        """
        from backstay.storage.local import sync_folder
        from backstay.storage.publish import publish

        final = self._wanted or self._folder / f"backstay-recovery-{repository_id.hex()}.txt"
        try:
            with os.fdopen(os.dup(self._fd), "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            publish(self._aside, final, self._aside)
            sync_folder(self._folder)
        except OSError as error:
            raise StorageError(
                f"the recovery key sheet {final} could not be written: {error.strerror}",
                hint="the repository works; make a new recovery key with `backstay repo keys rotate`",
            ) from error
        return final.absolute()


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"there is already a file {path}", hint="choose another place with --recovery-sheet FILE"
    )
