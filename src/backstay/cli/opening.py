"""Opening a repository with what the command line gives."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.cli.output import Output
from backstay.cli.passphrase import read_passphrase
from backstay.domain.errors import UsageError
from backstay.storage.interface import Storage
from backstay.storage.registry import open_storage

if TYPE_CHECKING:
    from backstay.repository.repository import Repository


def open_repository(
    location: str,
    output: Output,
    *,
    passphrase_file: Path | None,
    credential: Path | None = None,
    meanwhile: str | None = None,
    begin: Callable[[Storage], None] | None = None,
) -> "Repository":
    """The repository, opened with a write-only credential where one is given, else with a passphrase.

    Args:
        meanwhile: a module to import while the passphrase is stretched.
        begin: called when the user has been asked for everything, before this starts any thread.

    Raises:
        UsageError: no passphrase is to be had, or the credential file cannot be read.
        NoRepository, UnsupportedVersion, WrongPassphrase, DamagedObject, StorageError.
    """
    if credential is None:
        storage = open_storage(location)
        # A repository that is not there is said before the passphrase is asked for.
        from backstay.repository.config import read_config

        read_config(storage)
        passphrase = read_passphrase(passphrase_file, output)
        if begin is not None:
            begin(storage)
        from backstay.repository.keys import open_with_passphrase

        with ThreadPoolExecutor(1) as thread:
            # Stretching takes long and needs no Python: everything else is imported meanwhile.
            stretched = thread.submit(open_with_passphrase, storage, passphrase)
            from backstay.repository.repository import Repository

            if meanwhile is not None:
                import_module(meanwhile)
            return Repository.open_with(storage, stretched.result())
    if passphrase_file is not None:
        raise UsageError("--credential and --passphrase-file exclude each other", hint="give one of them")
    from backstay.repository.credential import load_credential
    from backstay.repository.repository import Repository

    try:
        data = credential.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the credential {credential} cannot be read: {error.strerror}", hint="check its path and mode"
        ) from None
    secrets, _ = load_credential(data, str(credential))
    storage = open_storage(location)
    if begin is not None:
        begin(storage)
    return Repository.open_with(storage, secrets)
