import os
import re
import signal
import subprocess
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from tests.end_to_end.console.conftest import a_wheel, write_tree

from backstay.server import alerts
from backstay.server.app import open_control
from backstay.server.settings import ServerSettings
from backstay.server.tables import FileServer
from backstay.testing.stack import Stack

pytestmark = pytest.mark.usefixtures("no_complaints")

PASSWORD = "a calm sea at dawn"
_LONG = 60_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the story is about."""
    folder = tmp_path_factory.mktemp("data") / "projects"
    write_tree(folder)
    (folder / "old minutes.txt").write_text("what was agreed\n")
    return folder


def test_first_the_server_asks_for_an_administrator(stack: Stack, page: Page) -> None:
    """Whoever comes first is led to the set-up, and is signed in when it is done."""
    page.goto(f"{stack.url}/jobs")
    expect(page).to_have_url(re.compile("/set-up$"))
    page.get_by_label("Set-up code").fill(stack.setup_code)
    page.get_by_label("Name").fill("maria")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill("something else")
    page.get_by_role("button", name="Set up Backstay").click()
    expect(page.get_by_role("alert")).to_contain_text("differ")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Set up Backstay").click()
    expect(page.get_by_role("heading", name="Nothing is protected yet")).to_be_visible()


def test_a_file_server_is_enrolled_with_the_command_that_is_shown(stack: Stack, page: Page) -> None:
    """The command can be pasted as it stands, and the file server then is connected."""
    page.get_by_role("link", name="Enrol a file server").click()
    page.get_by_label("One").check()
    page.get_by_role("button", name="Make the command").click()
    command = page.locator("#linux").inner_text()
    stack.enrol_and_run(command, "fs-story")
    page.get_by_role("main").get_by_role("link", name="File servers").last.click()
    row = page.get_by_role("row").filter(has_text="fs-story")
    for _ in range(40):
        if row.get_by_text("Connected").count():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(row.get_by_text("Connected")).to_be_visible()


def test_one_line_installs_the_agent(stack: Stack, page: Page, tmp_path: Path) -> None:
    """The line of the page fetches, checks, installs, enrols; where anything has changed, nothing runs."""
    agents = stack.folder / "server" / "agents"
    agents.mkdir()
    said = tmp_path / "said"
    wheel = a_wheel(agents, f"import sys; open({str(said)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))")
    page.goto(f"{stack.url}/file-servers/enrol")
    page.get_by_role("button", name="Make the command").click()
    line = page.locator("#linux-line").inner_text()
    settings = {**os.environ, "BACKSTAY_TARGET": str(tmp_path / "opt"), "PIP_NO_INDEX": "1"}
    told = subprocess.run(["sh", "-c", line], env=settings, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    token = line.partition("backstay-enrol-")[2].partition(";")[0]
    assert f"agent enrol {stack.url} backstay-enrol-{token} --again\n" in said.read_text()
    said.unlink()
    a_wheel(agents, "raise SystemExit('somebody else was here')")
    told = subprocess.run(["sh", "-c", line], env=settings, capture_output=True, text=True, check=False)
    assert "FAILED" in told.stdout + told.stderr
    assert not said.exists()
    wheel.unlink()
    assert page.request.get(f"{stack.url}/install.sh").status == 404
    assert page.request.get(f"{stack.url}/agents/server.key").status == 404


def test_a_folder_is_protected_and_its_first_backup_watched(stack: Stack, page: Page, data: Path) -> None:
    """The six steps are shown while the job runs, and the page says by itself when it is done."""
    page.goto(f"{stack.url}/sets/new")
    page.get_by_label("Name of the set").fill("projects")
    page.get_by_label("Folders", exact=True).fill(str(data))
    page.get_by_role("button", name="Protect it").click()
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))
    steps = page.locator(".steps-list")
    for step in ("Request", "Type", "Recovery point and scan", "Estimate", "Transmit", "Clean up"):
        expect(steps.get_by_text(step, exact=True)).to_be_visible(timeout=_LONG)
    expect(page.locator(".title-line").get_by_text("Succeeded")).to_be_visible(timeout=_LONG)
    expect(page.get_by_role("link", name="Restore from it")).to_be_visible()


def test_hostile_names_are_shown_and_do_nothing(stack: Stack, page: Page, data: Path) -> None:
    """Names of any bytes stand there as text: no element, no script, no reordering comes of them."""
    page.get_by_role("link", name="Restore from it").click()
    page.get_by_role("link", name="app", exact=True).click()
    expect(page.get_by_text("<img src=x onerror=alert(1)>.txt")).to_be_visible()
    expect(page.get_by_text("\\x1b[31mred\\xff.bin")).to_be_visible()
    expect(page.get_by_text("a\\u202egpj.exe")).to_be_visible()
    page.get_by_role("link", name="<img src=x").click()
    expect(page.locator("pre.content")).to_contain_text("<script>")
    assert page.title().startswith("<img src=x")


def test_a_second_backup_sees_the_change_and_the_file_has_two_versions(
    stack: Stack, page: Page, data: Path
) -> None:
    """A broken file has an older version to come back to, and the comparison names it."""
    (data / "app" / "readme.md").write_text("overwritten by accident\n")
    (data / "old minutes.txt").unlink()
    page.goto(f"{stack.url}/sets")
    page.get_by_role("link", name="projects").click()
    page.get_by_role("button", name="Back up now").click()
    expect(page.locator(".title-line").get_by_text("Succeeded")).to_be_visible(timeout=_LONG)
    page.get_by_role("link", name="Restore from it").click()
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("row").filter(has_text="readme.md")).to_contain_text("changed")
    page.get_by_role("link", name="readme.md").click()
    expect(page.locator("pre.content")).to_contain_text("overwritten by accident")
    versions = page.locator(".versions li")
    expect(versions).to_have_count(2)
    versions.last.get_by_role("link").click()
    expect(page.locator("pre.content")).to_contain_text("The text that will be lost.")


def test_the_old_version_is_restored_over_the_broken_one(stack: Stack, page: Page, data: Path) -> None:
    """First a look at what would be written, which writes nothing; then the bytes are back on disk."""
    page.get_by_role("button", name="Restore").click()
    page.get_by_label("Overwrite").check()
    page.get_by_role("button", name="See what it would write").click()
    expect(page.locator(".title-line").get_by_text("Succeeded")).to_be_visible(timeout=_LONG)
    expect(page.get_by_text("Nothing was written")).to_be_visible()
    assert (data / "app" / "readme.md").read_text() == "overwritten by accident\n"
    page.get_by_role("button", name="Restore now").click()
    expect(page.get_by_text("was read again and is what was backed up")).to_be_visible(timeout=_LONG)
    assert (data / "app" / "readme.md").read_bytes() == b"# Read me\n\nThe text that will be lost.\n"


def test_files_and_folders_can_be_downloaded(stack: Stack, page: Page, data: Path, tmp_path: Path) -> None:
    """Also what the newest copy has no more. A file comes as its bytes, a folder as an archive."""
    page.goto(f"{stack.url}/restore")
    page.get_by_label("Name of the file").fill("old min")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("link", name="old minutes.txt").click(timeout=_LONG)
    expect(page.locator("pre.content")).to_contain_text("what was agreed")
    page.goto(f"{stack.url}/restore")
    page.get_by_label("Name of the file").fill("large")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("link", name="large.bin").click(timeout=_LONG)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "large.bin")
    assert (tmp_path / "large.bin").read_bytes() == (data / "large.bin").read_bytes()
    page.get_by_label("Folder", exact=True).get_by_role("link").last.click()
    page.get_by_label("Choose app").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "app.zip")
    with zipfile.ZipFile(tmp_path / "app.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("app/main.py") == (data / "app" / "main.py").read_bytes()
        assert len(archive.namelist()) == 6


def test_a_policy_says_what_it_would_do_before_it_is_saved(stack: Stack, page: Page) -> None:
    """The next ten runs follow the form while it is filled in."""
    page.goto(f"{stack.url}/policies/new")
    page.get_by_label("Name").fill("Nightly")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Time", exact=True).fill("03:15")
    page.get_by_label("Time", exact=True).blur()
    preview = page.get_by_label("Preview")
    expect(preview.locator(".runs li")).to_have_count(10)
    expect(preview.locator(".runs li").first).to_contain_text("03:15")
    page.get_by_role("button", name="Make the policy").click()
    expect(page.get_by_role("link", name="Nightly")).to_be_visible()


def test_the_last_copy_of_a_version_is_not_lost_unseen(stack: Stack, page: Page) -> None:
    """Before a shorter retention is saved, the page names the file whose only version would go."""
    page.goto(f"{stack.url}/sets")
    page.get_by_role("link", name="projects").click()
    page.get_by_role("link", name="Only here").click()
    page.locator("#own_retention").check()
    for label, count in (
        ("so many days", "0"),
        ("Days", "1"),
        ("Weeks", "0"),
        ("Months", "0"),
        ("Years", "0"),
    ):
        page.get_by_role("textbox", name=label, exact=label[0].isupper()).fill(count)
    preview = page.get_by_label("Preview")
    expect(preview).to_contain_text("1 would go")
    expect(preview).to_contain_text("the only copies of 2 file versions")
    expect(preview).to_contain_text("app/readme.md")
    expect(preview).to_contain_text("old minutes.txt")
    page.get_by_label("Days", exact=True).fill("7")
    page.get_by_role("textbox", name="so many days").fill("7")
    expect(preview).not_to_contain_text("would go")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("7 days of every copy, 7 daily")).to_be_visible()
    expect(page.get_by_text("backup set projects")).to_be_visible()


def test_a_rule_is_tried_on_the_real_disk(stack: Stack, page: Page, data: Path) -> None:
    """The agent says of each entry what decides; folders can be entered, and every change asks anew."""
    (data / "app" / "new on disk.md").touch()
    page.goto(f"{stack.url}/rules/new")
    page.get_by_label("Lines").fill("# notes\n*.md\n")
    page.get_by_label("On the disk of").select_option(label="fs-story")
    look = page.locator("#look")
    expect(look).to_contain_text("2 files of")
    look.get_by_role("button", name="app/").click()
    expect(look.get_by_role("listitem").filter(has_text="new on disk.md")).to_contain_text("notes")
    expect(look).to_contain_text("<img src=x onerror=alert(1)>.txt")
    page.get_by_label("Lines").fill("main.py\n")
    page.get_by_label("Lines").blur()
    expect(look.get_by_role("listitem").filter(has_text="main.py")).to_contain_text("line 1")
    expect(look.get_by_role("button", name="projects")).to_be_visible()


def test_the_agents_log_is_on_its_page(stack: Stack, page: Page) -> None:
    """What it did last, as it told it."""
    page.goto(f"{stack.url}/file-servers")
    page.get_by_role("link", name="fs-story").click()
    log = page.get_by_label("Agent log")
    expect(log).to_contain_text("agent started")
    expect(log).to_contain_text("job ended")


def test_a_stopped_agent_is_seen(stack: Stack, page: Page) -> None:
    """It is shown as silent, an alert says so, and a backup by hand fails at once with the reason."""
    stack.stop("fs-story", signal.SIGKILL)
    ahead = timedelta(0)
    settings = ServerSettings(folder=stack.folder / "server", tls="off")
    control = open_control(settings, clock=lambda: datetime.now(UTC) + ahead)
    try:
        with control.database.begin() as db:
            db.scalars(select(FileServer)).one().last_seen_at = control.clock() - timedelta(minutes=2)
        page.goto(f"{stack.url}/file-servers")
        row = page.get_by_role("row").filter(has_text="fs-story")
        expect(row.get_by_text("Silent")).to_be_visible()
        alert = page.get_by_role("listitem").filter(has_text="Agent silent")
        # The server has to have listened for as long as the agent was silent; by its own clock it has not,
        # and its own look may take the alert back.
        for _ in range(4):
            for _ in range(8):
                ahead += timedelta(minutes=2)
                alerts.evaluate(control)
            page.goto(f"{stack.url}/alerts")
            if alert.count():
                break
    finally:
        control.database.close()
    expect(alert).to_contain_text("fs-story")
    alert.get_by_role("button", name="Take it on").click()
    expect(page.get_by_text("taken on by maria")).to_be_visible()
    page.goto(f"{stack.url}/sets")
    page.get_by_role("link", name="projects").click()
    page.get_by_role("button", name="Back up now").click()
    expect(page.locator(".title-line").get_by_text("Failed")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("The agent is not running")
    page.goto(f"{stack.url}/rules/new")
    page.get_by_label("Lines").fill("*.md\n")
    page.get_by_label("On the disk of").select_option(label="fs-story")
    expect(page.locator("#look")).to_contain_text("is not connected")
    expect(page.locator("#look")).to_contain_text("Instead, what its newest copy holds")
    expect(page.locator("#look")).to_contain_text("readme.md")


def test_keys_lead_through_the_console(stack: Stack, page: Page) -> None:
    """Pages, rows and help can be reached without a pointer."""
    page.goto(f"{stack.url}/")
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("/jobs$"))
    page.wait_for_load_state()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))
    page.wait_for_load_state()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
