"""Enrolment: a token for an identity."""

import platform
from pathlib import Path

import backstay
from backstay.agent.settings import AgentSettings
from backstay.domain.errors import Conflict
from backstay.protocol.client import AgentClient, certificate_of, read_token
from backstay.protocol.report import EnrolRequest


def enrol(url: str, token: str, name: str, folder: Path, *, again: bool = False) -> AgentSettings:
    """Enrol this machine, and keep what the server answers.

    Args:
        name: of the file server, as it will be shown.
        again: throw away an earlier enrolment of this folder.

    Raises:
        UsageError: the token cannot be read.
        Conflict: this folder is enrolled already.
        ServerError: the server refuses, or cannot be reached.
    """
    if (folder / "agent.json").exists() and not again:
        raise Conflict(
            f"this agent is enrolled already (in {folder})",
            hint="use it as it is, or give --again to replace its identity",
        )
    read = read_token(token)
    certificate = certificate_of(url, read.f)
    request = EnrolRequest(
        secret=read.s, name=name, system=platform.system().lower(), version=backstay.__version__
    )
    reply = AgentClient.enrol(url, certificate, request)
    settings = AgentSettings(url, certificate, reply.file_server_id, reply.name, reply.secret)
    settings.save(folder)
    return settings
