"""The commands, listed one by one. A command's module is imported when it is called, not before."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

import backstay


class _Group(click.Group):
    """A group that knows its commands by the modules that hold them, each as `command`."""

    def __init__(self, modules: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(no_args_is_help=True, **attributes)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(f"backstay.cli.commands.{module}").command
        return command


_REPO = {
    "init": "init",
    "backup": "backup",
    "points": "points",
    "files": "files",
    "diff": "diff",
    "restore": "restore",
    "mount": "mount",
    "verify": "verify",
    "prune": "prune",
    "rebuild": "rebuild",
    "credential": "credential",
    "keys": "keys",
}

_AGENT = {
    "enrol": "agent_enrol",
    "run": "agent_run",
    "install": "agent_install",
}

_TOP = {
    "up": "up",
    "server": "server",
    "agent": "agent",
    "repo": "repo",
    "explain": "explain",
    "bench": "bench",
    "demo": "demo",
    "login": "login",
    "logout": "logout",
    "doctor": "doctor",
    "file-servers": "file_servers",
    "sets": "sets",
    "policies": "policies",
    "rules": "rules",
    "jobs": "jobs",
    "restore-points": "restore_points",
    "repositories": "repositories",
    "alerts": "alerts",
    "backup": "backup_now",
    "restore": "restore_now",
    "channels": "channels",
    "admins": "admins",
    "tokens": "tokens",
    "audit": "audit",
}


def repo() -> click.Group:
    """`backstay repo`."""
    return _Group(
        _REPO, name="repo", help="A repository of backups, opened with its key alone; no server is needed."
    )


def agent() -> click.Group:
    """`backstay agent`."""
    return _Group(
        _AGENT, name="agent", help="The agent on a file server, which carries out what its server orders."
    )


def command_line() -> click.Group:
    """`backstay`, the whole command line."""
    top = _Group(_TOP, name="backstay", help="Backup for file servers: deduplicated, encrypted, fast.")
    return click.version_option(backstay.__version__, message="backstay %(version)s")(top)
