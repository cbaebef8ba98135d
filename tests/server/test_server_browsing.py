"""Looking into restore points through the API: folders, versions, differences, downloads, searches."""

import base64
import io
import os
import time
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from tests.server.conftest import MovableClock, token_for
from tests.server.upkeep_rig import Protected

from backstay.server.access import Role
from backstay.server.control import Control
from backstay.server.tables import AuditEntry

# SQLite alone: what is tested here lies in the repository.
pytestmark = pytest.mark.parametrize("control", ["sqlite"], indirect=True)

LARGE = Random(5).randbytes(3_000_000)
ODD = b"caf\xe9.txt"


@pytest.fixture
def protected(control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Protected:
    """A file server with a small tree."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    made = Protected.new(control, tmp_path)
    made.write("docs/report.txt", b"first draft\n")
    made.write("docs/old/notes.md", b"# notes\n" * 200)
    made.write("large.bin", LARGE)
    made.write(os.fsdecode(ODD), b"\xffnot text\0")
    (made.source / "link").symlink_to("docs/report.txt")
    return made


def _get(client: TestClient, point: str, what: str, path: str, **more: Any) -> Any:
    return client.get(f"/api/v1/restore-points/{point}/{what}", params={"path": path, **more})


def test_a_folder_is_listed_page_by_page(client: TestClient, protected: Protected) -> None:
    """Pages follow one another by name without a gap; names that are no text come exactly, too."""
    point = protected.back_up()
    path = str(protected.source)
    names: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = _get(client, point[:12], "folder", path, limit=2, **after).json()
        names += [item["name_base64"] or item["name"] for item in page["items"]]
        if page["next"] is None:
            break
        exactly = page["next"]["name_base64"]
        after = {"after_base64": exactly} if exactly else {"after": page["next"]["name"]}
    assert names == [base64.b64encode(ODD).decode(), "docs", "large.bin", "link"]
    docs = _get(client, point, "entry", f"{path}/docs").json()
    assert (docs["kind"], docs["files"], docs["size"]) == ("folder", 2, 12 + 1600)
    odd = base64.b64encode(os.fsencode(path) + b"/" + ODD).decode()
    entry = client.get(f"/api/v1/restore-points/{point}/entry", params={"path_base64": odd}).json()
    assert (entry["kind"], entry["size"], entry["content"], entry["grade"]) == ("file", 10, True, "stable")
    missing = _get(client, point, "entry", f"{path}/nothing")
    assert (missing.status_code, bool(missing.json()["hint"])) == (404, True)


def test_a_large_folder_is_listed_without_reading_all_of_it(client: TestClient, protected: Protected) -> None:
    """In the middle of 6,000 entries a page comes about as fast as at the beginning."""
    folder = protected.source / "many"
    folder.mkdir()
    for number in range(6_000):
        (folder / f"{number:06}").touch()
    point = protected.back_up()
    _get(client, point, "folder", str(folder), limit=10)
    began = time.monotonic()
    page = _get(client, point, "folder", str(folder), limit=3, after="003000").json()
    took = time.monotonic() - began
    assert [item["name"] for item in page["items"]] == ["003001", "003002", "003003"]
    assert took < 1


def test_versions_and_differences(client: TestClient, protected: Protected, clock: MovableClock) -> None:
    """A file's versions are told with the points that have them; two points with what differs."""
    first = protected.back_up()
    clock.forward(days=1)
    second = protected.back_up()
    protected.write("docs/report.txt", b"second draft\n")
    protected.write("new.txt", b"new")
    clock.forward(days=1)
    third = protected.back_up()
    report = str(protected.source / "docs/report.txt")
    found = client.get(f"/api/v1/backup-sets/{protected.set_id}/versions", params={"path": report}).json()
    assert [[point["id"] for point in version["restore_points"]] for version in found] == [
        [third],
        [second, first],
    ]
    url = f"/api/v1/restore-points/{third}/differences"
    page = client.get(url, params={"since": first, "limit": 1}).json()
    rest = client.get(url, params={"since": first, "after": page["next"]["path"]}).json()
    assert [(one["change"], Path(one["path"]).name) for one in page["items"] + rest["items"]] == [
        ("changed", "report.txt"),
        ("added", "new.txt"),
    ]


def test_a_file_is_downloaded_whole_and_in_ranges(
    client: TestClient, control: Control, protected: Protected
) -> None:
    """Any range of a file comes exactly; what is not there is refused; each download is in the audit log."""
    point, path = protected.back_up(), str(protected.source / "large.bin")
    url = f"/api/v1/restore-points/{point}/content"
    whole = client.get(url, params={"path": path})
    assert whole.content == LARGE
    assert whole.headers["x-content-type-options"] == "nosniff"
    for asked, begin, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-2000000", 1_000_000, 2_000_001),
        ("bytes=-5", len(LARGE) - 5, len(LARGE)),
        ("bytes=2999990-99999999", 2_999_990, len(LARGE)),
    ):
        part = client.get(url, params={"path": path}, headers={"range": asked})
        assert (part.status_code, part.content) == (206, LARGE[begin:end])
        assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(LARGE)}"
    past = client.get(url, params={"path": path}, headers={"range": "bytes=3000000-"})
    assert (past.status_code, past.headers["content-range"]) == (416, "bytes */3000000")
    with control.database.read() as db:
        entries = db.scalars(select(AuditEntry).where(AuditEntry.action == "restore.download")).all()
    assert [(entry.subject, entry.after) for entry in entries] == [
        ("fs1", {"restore_point": point, "paths": [path]})
    ] * 5
    folder = client.get(url, params={"path": str(protected.source)})
    assert (folder.status_code, bool(folder.json()["hint"])) == (422, True)


def test_a_folder_is_downloaded_as_an_archive_that_stays_in_its_folder(
    client: TestClient, protected: Protected
) -> None:
    """Content is exact; no name leaves the folder, on Windows neither; links are told, not followed."""
    protected.write("docs/..\\..\\evil.txt", b"evil")
    point = protected.back_up()
    answer = _get(client, point, "archive", str(protected.source))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        top = protected.source.name
        assert archive.read(f"{top}/large.bin") == LARGE
        assert archive.read(f"{top}/docs/report.txt") == b"first draft\n"
        assert f"{top}/link: no regular file" in archive.read(f"{top}/NOT INCLUDED.txt").decode()
    assert all(
        name.startswith(f"{top}/") and "\\" not in name and ".." not in name.split("/") for name in names
    )
    assert sum("evil.txt~" in name for name in names) == 1


def test_previews_show_text_and_images_and_nothing_that_runs(
    client: TestClient, protected: Protected
) -> None:
    """HTML and SVG come as plain text, images by their content; other files have no preview."""
    protected.write("page.html", b"<script>alert(1)</script>")
    protected.write("picture", b"\x89PNG\r\n\x1a\n" + bytes(100))
    protected.write("long.txt", "é".encode() * 200_000)
    point, root = protected.back_up(), protected.source
    page = _get(client, point, "preview", str(root / "page.html"))
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("sandbox")
    assert _get(client, point, "preview", str(root / "picture")).headers["content-type"] == "image/png"
    long = _get(client, point, "preview", str(root / "long.txt"))
    assert (long.headers["x-backstay-truncated"], set(long.text)) == ("true", {"é"})
    assert _get(client, point, "preview", str(root / "large.bin")).status_code == 422


def test_a_name_is_found_in_the_newest_point_that_has_it(
    client: TestClient, control: Control, protected: Protected, clock: MovableClock, tmp_path: Path
) -> None:
    """Across file servers and points, newest first, each path once; also what was deleted since."""
    other = Protected.new(control, tmp_path / "other", "fs2")
    other.write("Report-of-fs2.TXT", b"2")
    first = protected.back_up()
    clock.forward(days=1)
    (protected.source / "docs/old/notes.md").unlink()
    second = protected.back_up()
    clock.forward(days=1)
    third = other.back_up()

    def found(name: str, **more: Any) -> list[tuple[str, str]]:
        hits: list[tuple[str, str]] = []
        after = ""
        for _ in range(200):
            answer = client.get("/api/v1/search", params={"name": name, "after": after, "limit": 1, **more})
            page = answer.json()
            hits += [(Path(item["path"]).name, item["restore_point"]) for item in page["items"]]
            if page["next"] is None:
                return hits
            after = page["next"]
        raise AssertionError("the search never ends")

    assert found("report") == [("Report-of-fs2.TXT", third), ("report.txt", second)]
    assert found("NOTES") == [("notes.md", first)]
    assert found("*.txt", backup_set_id=other.set_id) == [("Report-of-fs2.TXT", third)]
    assert found("n?tes.*") == [("notes.md", first)]
    assert found("nowhere") == []
    assert client.get("/api/v1/search", params={"name": "a/b"}).status_code == 422


def test_who_may_only_look_at_jobs_sees_no_names(
    client: TestClient, control: Control, protected: Protected
) -> None:
    """An auditor neither browses nor downloads."""
    point = protected.back_up()
    client.headers["Authorization"] = f"Bearer {token_for(control, Role.AUDITOR)}"
    for what in ("folder", "entry", "content", "archive", "preview"):
        assert _get(client, point, what, "/").status_code == 403
    assert client.get("/api/v1/search", params={"name": "x"}).status_code == 403


def test_last_copies_are_told_before_a_point_goes(
    client: TestClient, protected: Protected, clock: MovableClock
) -> None:
    """Only versions that no other point has at that path; in pages; and for a retention to be tried out."""
    first = protected.back_up()
    clock.forward(days=1)
    protected.write("docs/report.txt", b"second draft\n")
    (protected.source / "large.bin").unlink()
    protected.write("new.txt", b"new")
    second = protected.back_up()
    clock.forward(days=1)
    protected.write("new.txt", b"newer")
    protected.back_up()

    def lost(url: str, **more: Any) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        after = ""
        while True:
            page = client.request(url=url, params={"after": after, "limit": 1}, **more).json()
            found += [(Path(item["path"]).name, item["restore_point"]) for item in page["items"]]
            if page["next"] is None:
                return found
            after = page["next"]

    one = f"/api/v1/restore-points/{first}/last-copies"
    assert lost(one, method="GET") == [("report.txt", first), ("large.bin", first)]
    body = {"retention": {"keep_days": 0, "daily": 1}}
    tried = client.post(f"/api/v1/backup-sets/{protected.set_id}/retention-plan", json=body).json()
    assert (tried["keeps"], tried["expires"], tried["origin"]) == (1, 2, "tried out")
    both = f"/api/v1/backup-sets/{protected.set_id}/last-copies"
    assert lost(both, method="POST", json=body) == [
        ("new.txt", second),
        ("report.txt", first),
        ("large.bin", first),
    ]


_NONSENSE = [
    ("/api/v1/restore-points/{point}/folder", {"path": "\0"}),
    ("/api/v1/restore-points/{point}/folder", {"path_base64": "%%%"}),
    ("/api/v1/restore-points/{point}/folder", {"path": "/", "limit": "0"}),
    ("/api/v1/restore-points/zz/folder", {"path": "/"}),
    ("/api/v1/restore-points/{point}/differences", {"since": "0000"}),
    ("/api/v1/restore-points/{point}/last-copies", {"after": "nonsense"}),
    ("/api/v1/restore-points/{point}/last-copies", {"after": "{point}:%%%"}),
    ("/api/v1/search", {"name": "x", "after": "9" * 150 + ".a.1"}),
    ("/api/v1/search", {"name": "x", "after": "1.2"}),
    ("/api/v1/search", {"name": "\0"}),
    ("/api/v1/search", {"name": ""}),
    ("/api/v1/backup-sets/999999/versions", {"path": "/"}),
    ("/api/v1/backup-sets/999999/retention-plan", {}),
    ("/api/v1/repositories/0/figures", {}),
    ("/api/v1/repositories/" + "0" * 32 + "/retention-plan", {}),
]


def test_nonsense_is_refused_with_a_hint(client: TestClient, protected: Protected) -> None:
    """Whatever makes no sense is a problem document with a status of the client's fault, and a hint."""
    point = protected.back_up()
    for url, params in _NONSENSE:
        filled = {name: value.replace("{point}", point) for name, value in params.items()}
        answer = client.get(url.replace("{point}", point), params=filled)
        assert answer.status_code in {404, 422}, (url, params, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["hint"], url
