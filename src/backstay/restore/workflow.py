"""A restore from its plan to its outcome."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from backstay.domain.errors import TargetError
from backstay.filesystem.metadata import Owners
from backstay.filesystem.reasons import raise_if_target_failed, reason_of
from backstay.filesystem.writer import TreeWriter
from backstay.restore.check import verify
from backstay.restore.finish import finish_folders, make_links
from backstay.restore.outcome import RestoreOutcome
from backstay.restore.plan import RestorePlan
from backstay.restore.progress import FINISH, VERIFY, WRITE, Progress, Silent
from backstay.restore.transfer import Transfer
from backstay.system.calls import os
from backstay.system.host import quoted_path


def run_restore(
    plan: RestorePlan, progress: Progress | None = None, *, verified: bool = True
) -> RestoreOutcome:
    """Restore what `plan` says.

    Args:
        verified: read everything again afterwards and compare it with the restore point.

    Raises:
        TargetError: the target cannot be written, or there is not room enough.
        Cancelled, KeyMissing, StorageUnavailable: what was restored until then stays.
    """
    progress = progress or Silent()
    outcome = RestoreOutcome(plan.target, problems=list(plan.problems))
    top = _make_target(plan)
    try:
        owners = Owners(numeric_ids=plan.numeric_ids)
        tree = TreeWriter(owners, permissions=plan.with_permissions)
        figures = plan.figures
        with _phase(progress, WRITE, figures.files, figures.bytes):
            Transfer(plan, top, tree, owners, outcome).run(progress)
        with _phase(progress, FINISH, len(plan.links) + len(plan.folders) - 1, 0):
            make_links(plan, top, tree, outcome, progress)
            finish_folders(plan, top, tree, outcome, progress)
        if verified:
            with _phase(progress, VERIFY, figures.files, figures.bytes):
                verify(plan, top, outcome, progress)
    except TargetError as error:
        done = f"{outcome.files:,} files and {outcome.folders:,} folders were made before"
        raise TargetError(f"{error.what} ({done})", hint=error.hint) from error
    except OSError as error:
        raise_if_target_failed(error)
        raise TargetError(
            f"{quoted_path(plan.target)} cannot be restored into: {reason_of(error)}",
            hint="check that nothing else changes that folder, and restore again",
        ) from error
    finally:
        os.close(top)
    return outcome


@contextmanager
def _phase(progress: Progress, name: str, files: int, size: int) -> Iterator[None]:
    started = time.monotonic()
    progress.phase_started(name, files, size)
    yield
    progress.phase_ended(name, time.monotonic() - started)


def _make_target(plan: RestorePlan) -> int:
    """The open target, made where it is not there, with room enough. Raises TargetError."""
    try:
        os.makedirs(plan.target, exist_ok=True)
        top = os.open(plan.target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise TargetError(
            f"the folder {quoted_path(plan.target)} cannot be made or opened: {reason_of(error)}",
            hint="check the path and your rights there",
        ) from error
    try:
        _check_room(plan, top)
    except TargetError:
        os.close(top)
        raise
    return top


def _check_room(plan: RestorePlan, top: int) -> None:
    there = os.fstatvfs(top)
    free = (there.f_bfree if os.geteuid() == 0 else there.f_bavail) * there.f_frsize
    needed = plan.figures.data_bytes - plan.figures.freed_bytes
    if needed > free:
        raise TargetError(
            f"{quoted_path(plan.target)} has {free:,} bytes free, and the restore needs {needed:,}",
            hint="make room there, or restore to another place",
        )
    figures = plan.figures
    entries = figures.files + figures.folders + figures.others
    if there.f_files and entries > there.f_ffree:
        raise TargetError(
            f"{quoted_path(plan.target)} has room for {there.f_ffree:,} more files and folders (inodes), "
            f"and the restore needs {entries:,}",
            hint="remove files there, or restore to another place",
        )
