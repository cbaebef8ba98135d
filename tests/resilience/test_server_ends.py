"""SIGTERM ends the server within seconds, whoever is connected, and whatever they are in the middle of."""

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
from tests.server.conftest import token_for

from backstay.server.access import Role
from backstay.testing.fleet_rig import FleetRig
from backstay.testing.protocol_agent import ProtocolAgent

_WITHIN = 9.0
"""Seconds: four for those who are in the middle of sending, and the rest for a busy machine."""
_AGENTS = 6


def _asks_for_work(url: str, agent: ProtocolAgent, answers: list[int]) -> threading.Thread:
    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60) as agent.client:
            answers.append(agent.ask_for_work(wait_seconds=25).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_sigterm_with_open_connections(tmp_path: Path) -> None:
    """Agents that wait are answered, streams end, who sends half a body is cut off; it exits in order."""
    with FleetRig(tmp_path) as rig, ExitStack() as stack:
        token = token_for(rig.control, Role.ADMINISTRATOR)
        http = stack.enter_context(httpx.Client(base_url=rig.server.url, timeout=60))
        enrolment = rig.token()
        agents = [ProtocolAgent.enrol(http, enrolment, f"agent{number}") for number in range(_AGENTS)]
        for agent in agents:
            agent.lease(room=0)
        answers: list[int] = []
        asking = [_asks_for_work(rig.server.url, agent, answers) for agent in agents]

        def send(head: str) -> socket.socket:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", rig.server.port)))
            connection.settimeout(30)
            connection.sendall(
                f"{head}\r\nHost: here\r\nAuthorization: Bearer {token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{".encode()
            )
            return connection

        def watch() -> socket.socket:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", rig.server.port)))
            connection.settimeout(30)
            connection.sendall(
                f"GET /api/v1/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            assert b"200 OK" in connection.recv(4096)
            return connection

        watching = [watch() for _ in range(4)]
        send("POST /api/v1/enrolment-tokens HTTP/1.1")
        time.sleep(1)
        began = time.monotonic()
        assert rig.server.stop() == 0
        assert time.monotonic() - began < _WITHIN
        for thread in asking:
            thread.join()
        assert answers == [200] * _AGENTS
        for connection in watching:
            while connection.recv(4096):
                pass
