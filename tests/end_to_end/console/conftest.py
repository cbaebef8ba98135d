"""The console in a real browser, in front of a real server with real agents."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request

from backstay.testing.chromium import BrowserMissing, running_chromium
from backstay.testing.stack import Stack


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; each opens windows of its own."""
    try:
        with running_chromium() as browser:
            yield browser
    except BrowserMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server that has just been installed."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.start_server()
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    """A window whose every complaint fails the test that caused it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860}, timezone_id="Europe/Berlin")
    window = context.new_page()
    window.set_default_timeout(20_000)
    yield window
    context.close()


@pytest.fixture
def no_complaints(page: Page) -> Iterator[None]:
    """No error of a script, nothing that the Content-Security-Policy refused, nothing from elsewhere."""
    told: list[str] = []

    def failed(error: Error) -> None:
        told.append(str(error))

    def said(line: ConsoleMessage) -> None:
        # A form that is refused answers with 422, which the browser notes.
        if line.type == "error" and "status of 422" not in line.text:
            told.append(line.text)

    def asked(request: Request) -> None:
        if "127.0.0.1" not in request.url and not request.url.startswith("data:"):
            told.append(request.url)

    page.on("pageerror", failed)
    page.on("console", said)
    page.on("request", asked)
    yield
    page.remove_listener("pageerror", failed)
    page.remove_listener("console", said)
    page.remove_listener("request", asked)
    assert not told


def write_tree(folder: Path) -> None:
    """Files to protect, some with names that nobody would give them."""
    app = folder / "app"
    app.mkdir(parents=True)
    (app / "main.py").write_text('print("hello")\n' * 200)
    (app / "readme.md").write_text("# Read me\n\nThe text that will be lost.\n")
    (folder / "large.bin").write_bytes(os.urandom(3 << 20))
    raw = os.fsencode(app)
    for name in (b"<img src=x onerror=alert(1)>.txt", b"\x1b[31mred\xff.bin", "a\u202egpj.exe".encode()):
        Path(os.fsdecode(raw + b"/" + name)).write_bytes(b"<script>document.title='taken'</script>")


def a_wheel(folder: Path, program: str) -> Path:
    """A package that pip installs as Backstay's, whose command runs this program."""
    path = folder / "backstay-0.0.1-py3-none-any.whl"
    info = "backstay-0.0.1.dist-info"
    contents = {
        "backstay_stand_in.py": f"def run():\n    {program}\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: backstay\nVersion: 0.0.1\nProvides-Extra: agent\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nbackstay = backstay_stand_in:run\n",
    }
    record = "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return path
