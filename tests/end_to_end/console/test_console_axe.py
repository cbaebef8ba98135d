import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.console_seed import NAME, PASSWORD, seed
from playwright.sync_api import Browser, Page

from backstay.server import administrators
from backstay.server.app import open_control
from backstay.server.settings import ServerSettings
from backstay.testing.stack import Stack

_ROOT = Path(__file__).parents[3]
_AXE = {
    "name": "axe-core",
    "version": "4.14.1",
    "integrity": "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NP"
    "jCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
}
_PAGES = (
    "/",
    "/file-servers",
    "/file-servers/5",
    "/file-servers/enrol",
    "/sets",
    "/sets/5",
    "/sets/5/edit",
    "/policies",
    "/policies/1",
    "/rules/1",
    "/jobs",
    "/jobs/290",
    "/restore",
    "/restore?set=5",
    "/storage",
    "/alerts",
    "/audit",
    "/administrators",
    "/account",
    "/account/tokens",
    "/settings",
)


_IN_THE_DARK = ("/", "/sets/5", "/jobs/290", "/restore?set=5", "/policies/1", "/alerts")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, fetched as the console's own assets are."""
    spec = importlib.util.spec_from_file_location("hatch_build", _ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        package = module.fetch_package(_AXE, tmp_path_factory.mktemp("axe"))
    except (RuntimeError, OSError) as error:
        pytest.skip(f"axe-core cannot be fetched: {error}")
    return Path(package / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a past."""
    stack = Stack(tmp_path_factory.mktemp("axe-stack"))
    control = open_control(ServerSettings(folder=stack.folder / "server", tls="off"))
    control.repositories.ensure_first(control.settings.storage_location, control.clock())
    with control.database.begin() as db:
        administrators.create_first_administrator(db, now=control.clock(), name=NAME, password=PASSWORD)
    seed(control, 12, 300)
    control.database.close()
    try:
        yield stack.start_server()
    finally:
        stack.close()


def sign_in(chromium: Browser, address: str, theme: str) -> Page:
    """A signed-in window; scripts of the test may run although pages forbid all but their own."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=theme, reduced_motion="reduce", bypass_csp=True
    )
    page = context.new_page()
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    return page


def barriers(page: Page, axe: str) -> list[str]:
    """What axe-core finds that is serious or critical (WCAG 2.2 AA, and its best practices)."""
    page.evaluate(axe)
    result: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{page.url}: {one['help']}: {json.dumps([node['target'] for node in one['nodes'][:3]])}"
        for one in result["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize(("theme", "paths"), [("light", _PAGES), ("dark", _IN_THE_DARK)])
def test_axe_finds_nothing_serious(
    chromium: Browser, address: str, axe: str, theme: str, paths: tuple[str, ...]
) -> None:
    """On no page, in neither theme, is there a serious barrier; and at 380 pixels nothing sticks out."""
    page = sign_in(chromium, address, theme)
    found: list[str] = []
    for path in paths:
        page.goto(address + path)
        found += barriers(page, axe)
        page.set_viewport_size({"width": 380, "height": 800})
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 380:
            found.append(f"{path} is {width} pixels wide in a narrow window")
        page.set_viewport_size({"width": 1280, "height": 900})
    page.context.close()
    assert not found, "\n".join(found)


def test_pages_without_a_session_have_no_barrier(chromium: Browser, address: str, axe: str) -> None:
    """The sign-in, and the page for what is not there, are for everybody."""
    page = chromium.new_context(bypass_csp=True).new_page()
    found: list[str] = []
    for path in ("/sign-in", "/nowhere-at-all"):
        page.goto(address + path)
        found += barriers(page, axe)
    page.context.close()
    assert not found
