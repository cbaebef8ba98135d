"""A process to kill: `python -m backstay.testing.crash_worker FOLDER ACTION`.

It opens the repository in FOLDER/repository, says "ready" on its standard output, does ACTION
(backup, prune or rebuild) with small sizes, and says "committed" with the id of the restore point
where there is one.
"""

import os
import sys
from pathlib import Path

from backstay.repository.rebuild import run_rebuild
from backstay.repository.repository import Repository
from backstay.storage.local import LocalStorage
from backstay.testing.crash_rig import Machine, small_sizes

PASSPHRASE = "passphrase"


def main(folder: Path, action: str) -> None:
    """Do it; the scan state is kept in `folder`, too."""
    os.environ["BACKSTAY_STATE"] = str(folder / "state")
    storage = LocalStorage(folder / "repository")
    secrets = Repository.open(storage, PASSPHRASE, cache=folder / "cache").secrets
    machine = Machine(folder, secrets, storage)
    with small_sizes():
        print("ready", flush=True)
        if action == "backup":
            print("committed", machine.backup().point.id.hex(), flush=True)
        elif action == "prune":
            machine.prune(lambda points: points[-3:])
        else:
            run_rebuild(machine.open())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
