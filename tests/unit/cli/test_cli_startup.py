"""What starting the program costs: only what a command needs is imported."""

import subprocess
import sys

HEAVY = ("rich", "numpy", "asyncio", "pydantic", "mfusepy", "obstore", "httpx", "fastapi", "sqlalchemy")


def _modules_after(statement, *arguments):
    script = f"import sys\nsys.argv[1:] = {list(arguments)!r}\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_help_imports_no_engine():
    """`backstay --help` loads neither the engine nor a drawing library."""
    modules = _modules_after(
        "from backstay.cli.main import main\nmain(['repo', 'points', '--help'])\nmain(['login', '--help'])"
    )
    assert not modules & {*HEAVY, "backstay.backup.workflow", "cryptography"}


def test_a_backup_imports_nothing_heavy(tmp_path):
    """The path of a backup without a terminal loads neither numpy nor a drawing library."""
    (tmp_path / "file").touch()
    statement = f"""
import os
os.environ.update(BACKSTAY_PASSPHRASE='x', BACKSTAY_STATE={str(tmp_path / "state")!r},
                  BACKSTAY_CACHE={str(tmp_path / "cache")!r})
os.chdir({str(tmp_path)!r})
from backstay.cli.main import main
assert main(['repo', 'init', 'repo']) == 0
assert main(['repo', 'backup', 'repo', 'file']) == 0
assert main(['repo', 'backup', 'repo', 'file']) == 0
"""
    assert not _modules_after(statement) & set(HEAVY)
