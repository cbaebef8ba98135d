import json
import re
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from backstay.domain.job import JobState
from backstay.server.web.display import shown_duration, shown_name, shown_percent, time_tag
from backstay.server.web.navigation import NAVIGATION
from backstay.server.web.states import JOB_STATES, look_of
from backstay.server.web.static_files import serve_static, static_address
from backstay.server.web.templating import environment

_WEB = files("backstay.server.web")


@given(st.binary(max_size=60))
def test_every_name_is_one_line_of_visible_text(name: bytes) -> None:
    """Whatever bytes a file name holds, it is one line, with nothing hidden and nothing reordered."""
    shown = shown_name(name)
    assert "\n" not in shown
    assert "\r" not in shown
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)


def test_a_name_keeps_its_readable_letters() -> None:
    """Letters of any script stay; what cannot be seen is written out."""
    assert shown_name("Größe 漢字.txt".encode()) == "Größe 漢字.txt"
    assert shown_name(b"a\x1b[31m\xff") == "a\\x1b[31m\\xff"
    assert shown_name("invoice\u202egpj.exe") == "invoice\\u202egpj.exe"


def test_a_name_with_markup_is_escaped() -> None:
    """A file name is never markup: templates escape what the filter returns."""
    page = environment().from_string("{{ name | shown }}").render(name=b"<script>alert(1)</script>\"'")
    assert "<" not in page
    assert '"' not in page


def test_a_time_is_written_for_machines_in_utc() -> None:
    """The script gets the exact instant, whatever zone the time was in."""
    moment = datetime(2026, 3, 1, 14, 5, 9, tzinfo=timezone(timedelta(hours=2)))
    assert 'datetime="2026-03-01T12:05:09.000Z"' in time_tag(moment)
    assert ">2026-03-01 12:05 UTC<" in time_tag(moment)
    assert time_tag(None, missing="not yet").endswith("not yet</span>")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "< 0.1 s"),
        (12, "12 s"),
        (125, "2 min 5 s"),
        (3 * 3600 + 120, "3 h 2 min"),
        (99 * 3600, "4 d 3 h"),
    ],
)
def test_durations_are_short(seconds: float, words: str) -> None:
    """A duration has at most two units."""
    assert shown_duration(timedelta(seconds=seconds)) == words


def test_almost_everything_is_not_everything() -> None:
    """100 % is said only when there is nothing left."""
    assert shown_percent(999, 1000) == "99 %"
    assert shown_percent(1000, 1000) == "100 %"
    assert shown_percent(0, 0) == "–"


def test_every_job_state_has_its_own_look() -> None:
    """Each state has words and an icon, so that colour is never the only sign."""
    assert set(JOB_STATES) == {state.value for state in JobState}
    assert len({look.label for look in JOB_STATES.values()}) == len(JOB_STATES)
    assert len({(look.icon, look.tone) for look in JOB_STATES.values()}) == len(JOB_STATES)
    assert look_of("something_new").label == "Something new"


def test_every_icon_that_is_used_is_in_the_sheet() -> None:
    """No template, state or page of the navigation names an icon that the build leaves out."""
    sheet = (_WEB / "static" / "vendor" / "icons.svg").read_text()
    there = set(re.findall(r'<symbol id="([^"]+)"', sheet))
    used = {page.icon for group in NAVIGATION for page in group.pages}
    used |= {look_of(state).icon for state in JOB_STATES}
    sources = [one for one in (_WEB / "templates").iterdir() if one.name.endswith(".html")]
    for source in [*sources, _WEB / "states.py"]:
        text = source.read_text()
        used |= set(re.findall(r'icon\("([a-z0-9-]+)"', text))
        used |= set(re.findall(r'Look\("[^"]+", "[a-z]+", "([a-z0-9-]+)"\)', text))
    assert used
    assert not used - there


def test_templates_hold_no_inline_script_and_no_inline_style() -> None:
    """The Content-Security-Policy forbids them, so they would silently not work."""
    for source in (_WEB / "templates").iterdir():
        if source.name.endswith(".html"):
            text = source.read_text()
            assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:|\|\s*safe\b", text), source.name
            assert not re.search(r"<script(?![^>]*\ssrc=)", text), source.name


def test_assets_are_pinned() -> None:
    """Every package is named with an exact version, a SHA-512 and a licence."""
    for package in json.loads((_WEB / "assets.json").read_text())["packages"]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
        assert package["integrity"].startswith("sha512-")
        assert package["license"]


def test_assets_are_kept_for_ever_under_an_address_that_changes_with_them() -> None:
    """A browser asks once; a stale address still answers, but is not kept."""
    app = Starlette(routes=[Route("/static/{digest}/{name:path}", serve_static)])
    client = TestClient(app)
    address = static_address("console.css")
    fresh = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert fresh.status_code == 200
    assert "immutable" in fresh.headers["cache-control"]
    assert fresh.headers["content-encoding"] == "gzip"
    assert fresh.headers["content-type"].startswith("text/css")
    plain = client.get("/static/old/console.css", headers={"Accept-Encoding": "identity"})
    assert plain.content == fresh.content
    assert plain.headers["cache-control"] == "no-cache"
    assert client.get("/static/x/../../assets.json").status_code == 404
    assert client.get("/static/x/%2e%2e/assets.json").status_code == 404


def test_naive_times_count_as_utc() -> None:
    """A time without a zone is never taken for local time."""
    assert time_tag(datetime(2026, 1, 1)) == time_tag(datetime(2026, 1, 1, tzinfo=UTC))
