"""A real Chromium, as Debian installs it, driven by playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class BrowserMissing(Exception):
    """There is no Chromium on this machine."""


def chromium_program() -> str:
    """Where Chromium is. Raises BrowserMissing."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise BrowserMissing("Chromium is not installed on this machine (apt-get install chromium)")
    return found


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A browser without a window; it ends with the context. Raises BrowserMissing."""
    program = chromium_program()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
