"""Changing who can open a repository."""


def test_passphrases_come_and_go(cli):
    """add, change and revoke take effect at once, and list names each."""
    cli("repo", "init", "repo")
    cli("repo", "keys", "add", "repo", "second", environment={"BACKSTAY_NEW_PASSPHRASE": "two"})
    cli("repo", "points", "repo", environment={"BACKSTAY_PASSPHRASE": "two"})
    assert "second" in cli("repo", "keys", "list", "repo").out
    (cli.folder / "new").write_text("three\n")
    (cli.folder / "new").chmod(0o600)
    cli("repo", "keys", "change", "repo", "second", "--new-passphrase-file", "new")
    cli("repo", "points", "repo", code=1, environment={"BACKSTAY_PASSPHRASE": "two"})
    cli("repo", "points", "repo", environment={"BACKSTAY_PASSPHRASE": "three"})
    cli("repo", "keys", "revoke", "repo", "second")
    cli("repo", "points", "repo", code=1, environment={"BACKSTAY_PASSPHRASE": "three"})
    cli("repo", "keys", "repair", "repo")
    labels = [key["label"] for key in cli("repo", "keys", "list", "repo", "--json").events]
    assert labels == ["main", "recovery key"]


def test_the_recovery_key_is_replaced(cli):
    """rotate writes another sheet, and what was backed up before still restores."""
    cli("repo", "init", "repo", "--recovery-sheet", "old")
    (cli.folder / "file").write_text("content")
    cli("repo", "backup", "repo", "file")
    cli("repo", "keys", "rotate", "repo", "--recovery-sheet", "new")
    assert (cli.folder / "old").read_text() != (cli.folder / "new").read_text()
    cli("repo", "restore", "repo", "latest", "--to", "out")


def test_the_last_passphrase_stays(cli):
    """Revoking the last one is refused as wrong usage."""
    cli("repo", "init", "repo")
    assert "last passphrase" in cli("repo", "keys", "revoke", "repo", "main", code=2).err
