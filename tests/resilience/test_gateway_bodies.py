"""Bodies on their way through the server: broken off, too long, slow, many at once."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.resilience.thief import Thief, only_file

from backstay.server import bodies
from backstay.testing.agent_worker import Seam
from backstay.testing.fleet_rig import FleetRig


@pytest.fixture(scope="module")
def senders(lasting_rig: FleetRig) -> Iterator[list[Thief]]:
    """File servers that each have a backup to make, spoken for by tests."""
    rig = lasting_rig
    made = []
    for number in range(4):
        agent = rig.started(f"sender-{number}", Seam(machine_id="sender"))
        rig.until_connected(agent)
        agent.stop()
        sender = Thief(rig, agent)
        sender.ticket(rig.back_up(rig.set_of(agent, [Path("/nowhere")])))
        made.append(sender)
    yield made
    for sender in made:
        sender.give_back()


class Sending:
    """A PUT whose body comes in pieces, as slowly as wanted."""

    def __init__(self, sender: Thief, name: str, length: int) -> None:
        port = sender.rig.server.port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        head = (
            f"PUT /agent/v1/storage/objects/{name} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n"
            f"authorization: Agent {sender.settings.file_server_id}:{sender.settings.secret}\r\n"
            f"x-backstay-instance: {sender.instance}\r\nx-backstay-job: {sender.job}:{sender.epoch}\r\n\r\n"
        )
        self._socket.sendall(head.encode())

    def send(self, data: bytes) -> None:
        """Some of the body."""
        self._socket.sendall(data)

    def status(self) -> int:
        """Of the answer."""
        line = self._socket.recv(4096).split(b" ", 2)
        return int(line[1])

    def break_off(self) -> None:
        """Go away."""
        self._socket.close()


def large_pack(sender: Thief, megabytes: int) -> tuple[str, bytes]:
    """A pack of about this size."""
    session = sender.begin()
    return sender.pack(session, {os.urandom(32): os.urandom(1 << 20) for _ in range(megabytes)})


class Memory:
    """Watches how much memory of its own the server process has, pages of files aside."""

    def __init__(self, rig: FleetRig) -> None:
        self._status = Path(f"/proc/{rig.server.running.process.pid}/status")
        self._before = self.most = self._now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _now(self) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) << 10

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.most = max(self.most, self._now())

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def more(self) -> int:
        """Bytes that it had more at most."""
        return self.most - self._before


def test_broken_off_in_the_middle(rig: FleetRig, senders: list[Thief]) -> None:
    """Of an object whose sender went away nothing is left, and it can be sent again."""
    sender = senders[0]
    name, content = large_pack(sender, 2)
    for part in (0, 100, len(content) // 2, len(content) - 1):
        sending = Sending(sender, name, len(content))
        sending.send(content[:part])
        sending.break_off()
    storage = rig.repository().storage
    assert not storage.exists(name)
    sender.storage.put(name, [content])
    assert storage.get(name) == content
    sender.storage.put(name, [content])
    asides = [path for path in rig.server.folder.rglob("*") if "aside" in path.name and path.is_file()]
    assert asides == []


def test_too_long(senders: list[Thief]) -> None:
    """A body that says to be longer than any object is refused before a byte of it is read."""
    assert Sending(senders[0], f"packs/aa/{'a' * 64}", bodies.MOST_BYTES + 1).status() == 422
    assert senders[0].raw("POST", "lease", b"x" * (5 << 20)).status_code == 413
    assert senders[0].raw("POST", "storage/stored", b"x" * (3 << 20)).status_code == 422


def test_slow_ones_are_in_nobodys_way(rig: FleetRig, senders: list[Thief], tmp_path: Path) -> None:
    """However many bodies trickle in, a backup beside them goes its way, and memory stays within bounds."""
    slow = []
    for sender in senders:
        for _ in range(bodies.OF_ONE_FILE_SERVER + 2):
            name, content = f"packs/aa/{'a' * 64}", os.urandom(1 << 20)
            sending = Sending(sender, name, bodies.MOST_BYTES)
            sending.send(content[: 1 << 16])
            slow.append(sending)
    agent = rig.started("beside")
    rig.until_connected(agent)
    set_id = rig.set_of(agent, [only_file(tmp_path / "data", os.urandom(40 << 20))])
    with Memory(rig) as memory:
        job = rig.ended(rig.back_up(set_id), 45)
    assert (job.state, job.reason) == ("succeeded", "")
    for sending in slow:
        sending.break_off()
    assert memory.more < 100 << 20


def test_many_large_ones_at_once(rig: FleetRig, senders: list[Thief]) -> None:
    """Sixteen packs of 30 MiB at once are all stored, and only a few of them are in memory."""
    packs = {sender: [large_pack(sender, 30) for _ in range(4)] for sender in senders}
    threads = [
        threading.Thread(target=sender.storage.put, args=(name, [content]))
        for sender, made in packs.items()
        for name, content in made
    ]
    with Memory(rig) as memory:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    storage = rig.repository().storage
    for made in packs.values():
        for name, content in made:
            assert storage.size(name) == len(content)
    assert memory.more < (bodies.IN_MEMORY + 3) * (32 << 20)
