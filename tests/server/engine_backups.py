"""Backups by the engine alone, as `backstay repo backup` makes them."""

import os
from pathlib import Path

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.repository.repository import Repository


def back_up(repository: Repository, source: Path, file_server: str, backup_set: str = "data") -> bytes:
    """Back up a folder; the id of the restore point."""
    request = BackupRequest([os.fsencode(source)], backup_set, file_server=file_server)
    return run_backup(repository, request, Silent()).point.id
