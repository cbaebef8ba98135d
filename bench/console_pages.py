"""How long the console's pages take with a large past: file servers, jobs, and a restore point of many files.

    python -m bench.console_pages WORK [--file-servers N] [--jobs N] [--files N] [--results FILE]

WORK is kept, so that a second run measures without seeding again. A real Chromium says when the first page is
painted; every page is asked for several times, and the slowest answer counts.
"""

import argparse
import http.client
import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from bench.console_seed import NAME, PASSWORD, seed
from sqlalchemy import select

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.server import administrators
from backstay.server.app import open_control
from backstay.server.control import Control
from backstay.server.repositories import default_repository
from backstay.server.settings import ServerSettings
from backstay.server.tables import BackupSetRow, RestorePointRow
from backstay.testing.chromium import running_chromium
from backstay.testing.stack import Stack

_TIMES = 7
_LARGE_FOLDER = 100_000
_PAGE_LIMIT, _PAINT_LIMIT = 0.5, 0.2


def main() -> None:
    """Seed what is not there yet, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--file-servers", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    point = prepare(given.work, given.file_servers, given.jobs, given.files)
    stack = Stack(given.work.absolute())
    try:
        stack.start_server()
        lines = measure(stack, point, given.work.absolute() / "tree")
    finally:
        stack.close()
    size = (
        f"{given.file_servers:,} file servers, {given.jobs:,} jobs, a restore point of {given.files:,} files"
    )
    busy = os.getloadavg()[0]
    head = [
        f"## Console, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{size}; {os.cpu_count()} cores, load average {busy:.1f}.",
        "",
    ]
    text = "\n".join([*head, *lines, ""])
    print(text)
    if given.results:
        with given.results.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")


def prepare(work: Path, file_servers: int, jobs: int, files: int) -> str:
    """The server's folder below `work`; the id of the large restore point."""
    kept = work / "point"
    control = open_control(ServerSettings(folder=(work / "server").absolute(), tls="off"))
    try:
        with control.database.begin() as db:
            fresh = not administrators.is_set_up(db)
            if fresh:
                administrators.create_first_administrator(
                    db, now=control.clock(), name=NAME, password=PASSWORD
                )
        if fresh:
            control.repositories.ensure_first(control.settings.storage_location, control.clock())
            seed(control, file_servers, jobs)
        if not kept.exists():
            kept.write_text(_large_point(control, work.absolute() / "tree", files))
    finally:
        control.database.close()
    return kept.read_text()


def _large_point(control: Control, tree: Path, files: int) -> str:
    """Back a tree of so many files up, one folder of it with 100,000, and enter it in the catalogue."""
    number = 0
    while number < files:
        folder = tree / f"folder-{number // _LARGE_FOLDER:03}"
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(min(_LARGE_FOLDER, files - number)):
            (folder / f"file-{number:07}.txt").touch()
            number += 1
    with control.database.read() as db:
        row = default_repository(db)
        assert row is not None
        repository_id = row.id
        of = db.scalars(select(BackupSetRow).limit(1)).one()
        file_server = of.file_server.name
    repository = control.repositories.get(repository_id)
    request = BackupRequest([os.fsencode(tree)], of.name, file_server=file_server)
    point = run_backup(repository, request, Silent()).point
    totals = point.manifest.totals
    with control.database.begin() as db:
        db.add(
            RestorePointRow(
                id=point.id.hex(),
                repository_id=repository_id,
                file_server_id=of.file_server_id,
                backup_set_id=of.id,
                sequence=point.manifest.sequence,
                type=point.manifest.type,
                committed_at=control.clock(),
                manifest_time=control.clock(),
                files=totals.files,
                folders=totals.directories,
                bytes=totals.bytes,
                read_bytes=0,
                new_bytes=0,
                stored_bytes=0,
                problems=0,
            )
        )
    return point.id.hex()


def measure(stack: Stack, point: str, tree: Path) -> list[str]:
    """The rows of the table."""
    place = quote(str(tree))
    pages = {
        "Overview": "/",
        "File servers": "/file-servers",
        "File servers, searched": "/file-servers?search=oslo",
        "One file server": "/file-servers/500",
        "Backup sets": "/sets",
        "One backup set": "/sets/500",
        "Jobs": "/jobs",
        "Failed jobs": "/jobs?state=failed",
        "Aborted among one file server's": "/jobs?state=failed&server=500",
        "One job": "/jobs/999000",
        "Restore": "/restore",
        "Restore, calendar of a set": "/restore?set=500",
        "A folder of 100,000 files": f"/restore/{point}?path={place}/folder-000",
        "The middle of that folder": f"/restore/{point}?path={place}/folder-000&after=file-0050000.txt",
        "One file and its versions": f"/restore/{point}?path={place}/folder-000/file-0000001.txt",
        "Storage": "/storage",
        "Alerts": "/alerts",
        "Audit": "/audit",
        "Policies": "/policies",
    }
    host = stack.url.partition("://")[2]
    cookie = _sign_in(host)
    rows = ["| page | median | slowest | size |", "| --- | --- | --- | --- |"]
    for label, path in pages.items():
        times, length = _ask(host, path, cookie)
        slow = " **over 500 ms**" if max(times) > _PAGE_LIMIT else ""
        median, slowest = statistics.median(times) * 1000, max(times) * 1000
        rows.append(f"| {label} | {median:.0f} ms | {slowest:.0f} ms{slow} | {length >> 10} KiB |")
    first, again = _painted(stack.url)
    slow = " **over 200 ms**" if again > _PAINT_LIMIT * 1000 else ""
    rows += [
        "",
        f"First paint of the overview: {first:.0f} ms with an empty cache, {again:.0f} ms after{slow}.",
    ]
    return rows


def _sign_in(host: str) -> str:
    connection = http.client.HTTPConnection(host)
    body = urlencode({"name": NAME, "password": PASSWORD})
    connection.request("POST", "/sign-in", body, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    assert answer.status == 303, answer.read()
    return str(answer.getheader("set-cookie")).partition(";")[0]


def _ask(host: str, path: str, cookie: str) -> tuple[list[float], int]:
    times, length = [], 0
    for _ in range(_TIMES):
        connection = http.client.HTTPConnection(host)
        began = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        length = len(answer.read())
        times.append(time.perf_counter() - began)
        assert answer.status == 200, (path, answer.status)
        connection.close()
    return times, length


def _painted(url: str) -> tuple[float, float]:
    """Milliseconds until the overview is painted: with an empty cache, and after that, the median of five."""
    script = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
    with running_chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        page = context.new_page()
        page.goto(f"{url}/sign-in")
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_timeout(500)
        fresh = browser.new_context(storage_state=context.storage_state()).new_page()
        fresh.goto(f"{url}/")
        fresh.wait_for_timeout(500)
        first = float(fresh.evaluate(script))
        later = []
        for _ in range(5):
            page.goto(f"{url}/")
            page.wait_for_timeout(400)
            later.append(float(page.evaluate(script)))
    return first, statistics.median(later)


if __name__ == "__main__":
    main()
