"""Draws the pictures of the console: pages of a server with a past, and of a backup that really ran.

    python -m docs.images.draw_console [FOLDER]

Each page at 1280 and at 380 pixels, light and dark, as console-PAGE-WIDTH-THEME.png in FOLDER; without
FOLDER, only the few that the documentation shows, beside this file. Needs Chromium.
"""

import sys
import tempfile
import time
from pathlib import Path

from bench.console_seed import NAME, PASSWORD, seed
from playwright.sync_api import Browser, Page

from backstay.server import administrators
from backstay.server.app import open_control
from backstay.server.settings import ServerSettings
from backstay.testing.chromium import running_chromium
from backstay.testing.stack import Stack

_HERE = Path(__file__).parent
_LAYOUTS = {
    "1280-light": (1280, "light"),
    "1280-dark": (1280, "dark"),
    "380-light": (380, "light"),
    "380-dark": (380, "dark"),
}
_SHOWN = {
    "overview": ("1280-light", "1280-dark", "380-light"),
    "job": ("1280-light",),
    "restore": ("1280-light",),
    "files": ("1280-light", "380-dark"),
    "policy": ("1280-light",),
    "rule": ("1280-light",),
}
_ASKING = ("rule", "set-edit")
"""Pages that ask an agent."""
_HEIGHTS = {1280: 860, 380: 780}


def main() -> None:
    """Start a server, let an agent back up, and photograph the pages."""
    everything = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            _prepare(stack)
            with running_chromium() as browser:
                pages = _pages(stack, browser)
                for layout in _LAYOUTS:
                    _draw(stack.url, browser, layout, pages, everything)
        finally:
            stack.close()


def _prepare(stack: Stack) -> None:
    control = open_control(ServerSettings(folder=stack.folder / "server", tls="off"))
    control.repositories.ensure_first(control.settings.storage_location, control.clock())
    with control.database.begin() as db:
        administrators.create_first_administrator(db, now=control.clock(), name=NAME, password=PASSWORD)
    seed(control, 12, 3000)
    control.database.close()
    stack.start_server()


def _sign_in(url: str, browser: Browser, width: int, theme: str) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": _HEIGHTS[width]},
        color_scheme="dark" if theme == "dark" else "light",
        timezone_id="Europe/Berlin",
        locale="en-GB",
    )
    page = context.new_page()
    page.goto(f"{url}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    return page


def _pages(stack: Stack, browser: Browser) -> dict[str, str]:
    """Addresses by name, after a file server was enrolled and a folder of it backed up twice."""
    source = stack.folder / "srv" / "projects"
    for name, text in (
        ("harbour/plan.md", "# Harbour\n\nMoorings, depths and the crane.\n"),
        ("harbour/depths.csv", "berth,depth\n1,4.2\n2,5.1\n3,6.0\n"),
        ("harbour/crane/manual.txt", "Read before lifting.\n" * 60),
        ("boats/anna.txt", "Sloop, 1962\n"),
        ("boats/lotte.txt", "Ketch, 1971\n"),
        ("boats/photos/anna.svg", "<svg/>"),
        ("letters/2026-03-insurance.txt", "Dear all,\n"),
        ("todo.txt", "paint the mast\n"),
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    page = _sign_in(stack.url, browser, 1280, "light")
    page.goto(f"{stack.url}/file-servers/enrol")
    page.get_by_role("button", name="Make the command").click()
    stack.enrol_and_run(page.locator("#linux").inner_text(), "fs-harbour")
    connected = page.get_by_role("row").filter(has_text="fs-harbour").get_by_text("Connected")
    while not connected.count():
        page.goto(f"{stack.url}/file-servers")
        time.sleep(0.5)
    job = ""
    for change in ("", "Tide tables too.\n"):
        (source / "harbour/plan.md").write_text(f"# Harbour\n\nMoorings, depths and the crane.\n{change}")
        job = _back_up(page, stack.url, source)
    rule = _leave_out(page, stack.url)
    page.goto(job)
    restore = page.get_by_role("link", name="Restore from it").get_attribute("href") or ""
    set_page = page.locator("dl.facts a[href^='/sets/']").get_attribute("href") or ""
    server_page = page.locator("dl.facts a[href^='/file-servers/']").get_attribute("href") or ""
    page.context.close()
    return {
        "overview": "/",
        "file-servers": "/file-servers",
        "file-server": "/file-servers/5",
        "file-server-log": server_page,
        "file-server-policy": f"{server_page}/policy",
        "enrol": "/file-servers/enrol",
        "sets": "/sets",
        "set": set_page,
        "set-edit": f"{set_page}/edit",
        "set-policy": f"{set_page}/policy",
        "jobs": "/jobs",
        "job": job.removeprefix(stack.url),
        "job-running": "/jobs/2999",
        "policy": "/policies/1",
        "rule": rule.removeprefix(stack.url),
        "search": "/restore/search?q=anna",
        "restore": "/restore?set=5",
        "files": f"{restore}?path={source}/harbour",
        "file": f"{restore}?path={source}/harbour/plan.md",
        "compare": f"{restore}/compare",
        "storage": "/storage",
        "alerts": "/alerts",
        "audit": "/audit",
        "administrators": "/administrators",
        "settings": "/settings",
    }


def _leave_out(page: Page, url: str) -> str:
    """Give the set a content rule; returns the rule's address."""
    page.goto(f"{url}/rules/new")
    page.get_by_label("Name").fill("Boats' papers")
    page.get_by_label("Lines").fill("# made anew\n*.svg\n\n# kept by the office\nletters/\n")
    page.get_by_role("button", name="Make the rule").click()
    page.get_by_role("link", name="Boats' papers").click()
    rule = page.url
    page.goto(f"{url}/sets?search=harbour")
    page.get_by_role("link", name="harbour", exact=True).click()
    page.goto(f"{page.url}/edit")
    page.get_by_label("Content rule").select_option(label="Boats' papers")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="harbour").wait_for()
    return rule


def _back_up(page: Page, url: str, source: Path) -> str:
    """Protect the folder, or back it up once more; returns the job's address when it is done."""
    page.goto(f"{url}/sets?search=harbour")
    if page.get_by_role("link", name="harbour", exact=True).count():
        page.get_by_role("link", name="harbour", exact=True).click()
        page.get_by_role("button", name="Back up now").click()
    else:
        page.goto(f"{url}/sets/new")
        page.get_by_label("File server").select_option(label="fs-harbour")
        page.get_by_label("Name of the set").fill("harbour")
        page.get_by_label("Folders", exact=True).fill(str(source))
        page.get_by_label("Policy").select_option(label="Nightly")
        page.get_by_role("button", name="Protect it").click()
    page.get_by_role("link", name="Restore from it").wait_for(timeout=60_000)
    return page.url


def _draw(url: str, browser: Browser, layout: str, pages: dict[str, str], everything: Path | None) -> None:
    width, theme = _LAYOUTS[layout]
    page = _sign_in(url, browser, width, theme)
    for name, path in pages.items():
        if everything is None and layout not in _SHOWN.get(name, ()):
            continue
        page.goto(url + path)
        time.sleep(2.5 if name in _ASKING else 0.6)  # charts and previews come after the page
        folder = everything or _HERE
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"console-{name}-{layout}.png"
        page.screenshot(path=file, full_page=everything is not None)
    page.context.close()


if __name__ == "__main__":
    main()
