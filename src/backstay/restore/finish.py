"""The end of a restore: hard links, then the metadata of folders from the bottom up."""

from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.reasons import reason_of
from backstay.filesystem.writer import TreeWriter
from backstay.restore.existing import Action
from backstay.restore.folders import Places
from backstay.restore.outcome import RestoreOutcome
from backstay.restore.plan import RestorePlan
from backstay.restore.progress import Progress
from backstay.system.calls import os

_PROGRESS_EVERY = 500


def make_links(
    plan: RestorePlan, top: int, tree: TreeWriter, outcome: RestoreOutcome, progress: Progress
) -> None:
    """Give every file that has several names the further ones. Raises TargetError, Cancelled."""
    places = Places(plan.folders)
    with DirectoryChain(top) as here, DirectoryChain(top) as there:
        for link in plan.links:
            if not plan.folders.is_usable(link.folder):
                continue
            place = places.components(link.folder)
            path = b"/".join((*place, link.name))
            if outcome.is_lost(link.to_folder, link.to_name) or not plan.folders.is_usable(link.to_folder):
                first = os.fsdecode(b"/".join((*places.components(link.to_folder), link.to_name)))
                outcome.failed(path, f"it is not restored, for it is another name of {first!r}")
                continue
            try:
                dir_fd = here.open(place)
                to_fd = there.open(places.components(link.to_folder))
                if link.action == Action.REPLACE_FOLDER:
                    os.rmdir(link.name, dir_fd=dir_fd)
                tree.make_link(dir_fd, link.name, to_fd, link.to_name, replace=link.action == Action.REPLACE)
            except OSError as error:
                outcome.failed(path, f"it cannot be linked: {reason_of(error)}")
                continue
            outcome.links += 1
            if outcome.links % _PROGRESS_EVERY == 0:
                progress.advanced(outcome.links, 0, os.path.join(plan.target, path))


def finish_folders(
    plan: RestorePlan, top: int, tree: TreeWriter, outcome: RestoreOutcome, progress: Progress
) -> None:
    """Restore the metadata of folders, each after everything in it. Raises Cancelled."""
    folders, places = plan.folders, Places(plan.folders)
    with DirectoryChain(top) as chain:
        for number in range(len(folders) - 1, 0, -1):
            if not folders.is_usable(number):
                continue
            record = places.record(number)
            if not record.finish:
                continue
            place = places.components(number)
            try:
                problems = tree.finish_directory(chain.open(place), record.entry)
            except OSError as error:
                problems = [f"its metadata cannot be restored: {reason_of(error)}"]
            for problem in problems:
                outcome.failed(b"/".join(place), problem)
            if number % _PROGRESS_EVERY == 0:
                progress.advanced(len(folders) - number, 0, os.path.join(plan.target, *place))
