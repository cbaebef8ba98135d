"""What happens to what exists: the decision alone."""

import stat
from datetime import datetime

import pytest

from backstay.restore.existing import Action, Existing, decide, name_beside

FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
NOW = datetime(2026, 11, 22, 14, 5)


@pytest.mark.parametrize(
    ("mode", "existing", "overwrite", "skip", "keep_both"),
    [
        (FILE, None, Action.CREATE, Action.CREATE, Action.CREATE),
        (FOLDER, None, Action.CREATE, Action.CREATE, Action.CREATE),
        (FOLDER, FOLDER, Action.ENTER, Action.ENTER, Action.ENTER),
        (FILE, FILE, Action.REPLACE, Action.SKIP, Action.KEEP_BOTH),
        (FILE, LINK, Action.REPLACE, Action.SKIP, Action.KEEP_BOTH),
        (LINK, FOLDER, Action.REPLACE_FOLDER, Action.SKIP, Action.KEEP_BOTH),
        (FOLDER, LINK, Action.REPLACE, Action.SKIP, Action.KEEP_BOTH),
    ],
)
def test_decision(mode, existing, overwrite, skip, keep_both):
    """Folders are shared; whatever else is taken follows the policy, and a refusal never replaces."""
    assert decide(mode, existing, Existing.OVERWRITE) is overwrite
    assert decide(mode, existing, Existing.SKIP) is skip
    assert decide(mode, existing, Existing.REFUSE) is skip
    assert decide(mode, existing, Existing.KEEP_BOTH) is keep_both


@pytest.mark.parametrize("policy", list(Existing))
def test_nothing_yields_to_a_folder_above(policy):
    """A folder that only leads to what was chosen takes nobody's place."""
    assert decide(FOLDER, LINK, policy, above=True) is Action.SKIP
    assert decide(FOLDER, FOLDER, policy, above=True) is Action.ENTER


@pytest.mark.parametrize(
    ("name", "attempt", "beside"),
    [
        (b"report.txt", 1, b"report (restored 2026-11-22 14.05).txt"),
        (b"report.txt", 2, b"report (restored 2026-11-22 14.05 2).txt"),
        (b"folder", 1, b"folder (restored 2026-11-22 14.05)"),
        (b".profile", 1, b".profile (restored 2026-11-22 14.05)"),
        (b"Dr. No and the long tail of it", 1, b"Dr. No and the long tail of it (restored 2026-11-22 14.05)"),
        (b"\xff.x", 1, b"\xff (restored 2026-11-22 14.05).x"),
    ],
)
def test_name_beside(name, attempt, beside):
    """The name tells when, and keeps the extension."""
    assert name_beside(name, NOW, attempt) == beside


def test_name_beside_of_the_longest_name():
    """It fits into 255 bytes and differs with each attempt."""
    names = {name_beside(b"n" * 250 + b".text", NOW, attempt) for attempt in range(1, 12)}
    assert len(names) == 11
    assert all(len(name) <= 255 and name.endswith(b".text") for name in names)
