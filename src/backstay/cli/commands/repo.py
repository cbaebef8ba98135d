"""`backstay repo`: the commands that open a repository."""

from backstay.cli.app import repo

command = repo()
