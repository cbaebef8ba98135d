import os
import signal
import threading
import time
from random import Random

from backstay.storage.file_bytes import holds_exactly, views_of, write_all


def test_short_writes_go_on():
    """Writes that the kernel ends early, at any byte, are continued there."""
    random = Random(1)
    data = [random.randbytes(random.randrange(30_000)) for _ in range(40)]
    whole = b"".join(data)
    reading, writing = os.pipe()
    received = bytearray()
    writer = threading.get_ident()

    def read_slowly_and_interrupt() -> None:
        while some := os.read(reading, 12_345):
            received.extend(some)
            if len(received) < len(whole) - 100_000:
                time.sleep(0.001)
                signal.pthread_kill(writer, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    reader = threading.Thread(target=read_slowly_and_interrupt)
    reader.start()
    try:
        write_all(writing, views_of(data))
    finally:
        os.close(writing)
        reader.join()
        os.close(reading)
        signal.signal(signal.SIGUSR1, before)
    assert bytes(received) == whole


def test_more_buffers_than_one_call_takes(tmp_path):
    """Thousands of buffers, empty ones among them, are written in order."""
    data = [bytes([number % 251]) * (number % 4) for number in range(9000)]
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    write_all(fd, views_of(data))
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"".join(data)


def test_nothing_is_written_without_complaint(tmp_path):
    """A file takes no bytes as it takes any: a body may end where a full buffer did."""
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    write_all(fd, [memoryview(b"")])
    write_all(fd, [memoryview(b"x"), memoryview(b""), memoryview(b"")])
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"x"


def test_comparison_sees_every_byte(tmp_path):
    """Equal however it is cut; unequal where one byte differs, is missing or is too many."""
    whole = Random(2).randbytes(3_000_001)
    (tmp_path / "file").write_bytes(whole)

    def same(*data: bytes) -> bool:
        return holds_exactly(tmp_path / "file", views_of(data))

    assert same(whole)
    assert same(whole[:1], b"", whole[1:2_000_000], whole[2_000_000:])
    assert not same(whole[:-1])
    assert not same(whole, b"x")
    for at in (0, 1_048_575, 1_048_576, 3_000_000):
        assert not same(whole[:at], bytes([whole[at] ^ 1]), whole[at + 1 :])
