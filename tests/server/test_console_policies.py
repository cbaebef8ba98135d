"""Policies and their layers in the console: what is inherited, what is set where, and what it would do."""

import re

import pytest
from bench.console_seed import seed
from tests.server.conftest import Browsers, csrf_of

from backstay.server.control import Control
from backstay.server.policies import policy_of
from backstay.server.tables import BackupSetRow, FileServer, PolicyRow

pytestmark = pytest.mark.parametrize("control", ["sqlite"], indirect=True)

FORM = {
    "time_zone": "Europe/Oslo",
    "schedule_kind": ["daily", "daily"],
    "schedule_time": ["01:15", "12:00"],
    "schedule_weekday": ["sun", "sun"],
    "schedule_day": ["1", "1"],
    "schedule_minute": ["0", "0"],
    "schedule_rule": ["", ""],
    "schedule_zone": ["", "Asia/Tokyo"],
    "keep_days": "3",
}


def test_a_set_has_values_of_its_own_over_what_it_inherits(browser_of: Browsers, control: Control) -> None:
    """Only what is chosen is set; the page names where the rest is from, and its preview what would go."""
    seed(control, 1, 200)
    browser = browser_of("operator")
    page = browser.get("/sets/1/policy").text
    policy = re.search("from the (policy \\w+)", page)
    assert policy is not None
    assert "built in" in page
    form = {**FORM, "csrf_token": csrf_of(browser), "own": ["retention"]}
    preview = browser.post("/sets/1/policy/preview", data=form).text
    assert "3 days of every copy" in preview
    assert "would go" in preview
    assert "backup set home" in preview
    assert browser.post("/sets/1/policy", data=form).headers["location"] == "/sets/1"
    with control.database.read() as db:
        row = db.get_one(BackupSetRow, 1)
        assert set(row.policy_layer) == {"retention"}
        assert policy_of(row).origins["schedules"] == policy[1]
    assert re.search('value="retention" data-shows checked', browser.get("/sets/1/policy").text)
    assert browser.post("/sets/1/policy", data={**form, "own": []}).status_code == 303
    with control.database.read() as db:
        assert db.get_one(BackupSetRow, 1).policy_layer == {}


def test_a_file_server_has_values_for_all_its_sets(browser_of: Browsers, control: Control) -> None:
    """The preview shows each set; a time may have a zone of its own, which the form keeps."""
    seed(control, 1, 20)
    browser = browser_of("administrator")
    form = {**FORM, "csrf_token": csrf_of(browser), "own": ["schedules"]}
    preview = browser.post("/file-servers/1/policy/preview", data=form).text
    assert preview.count("Every day at 01:15; every day at 12:00") == 1
    assert browser.post("/file-servers/1/policy", data=form).status_code == 303
    with control.database.read() as db:
        schedules = db.get_one(FileServer, 1).policy_layer["schedules"]
    assert [(one["rule"], one["time_zone"]) for one in schedules] == [
        ("15 1 * * *", "Europe/Oslo"),
        ("0 12 * * *", "Asia/Tokyo"),
    ]
    page = browser.get("/file-servers/1/policy").text
    assert re.search('name="time_zone"[^>]* value="Europe/Oslo"', page)
    assert re.search('name="schedule_zone" value="Asia/Tokyo"', page)
    assert "Schedules" in browser.get("/file-servers/1").text
    bad = browser.post("/file-servers/1/policy", data=form | {"time_zone": "Mars/Olympus"})
    assert bad.status_code == 422
    assert "Mars/Olympus" in bad.text


def test_a_policy_keeps_the_zone_of_each_of_its_times(browser_of: Browsers, control: Control) -> None:
    """Saved as it was shown, nothing of it changes."""
    browser = browser_of("administrator")
    form = {**FORM, "csrf_token": csrf_of(browser), "name": "Two places"}
    assert browser.post("/policies/new", data=form).status_code == 303
    with control.database.read() as db:
        before = db.query(PolicyRow).one().values
    assert [one["time_zone"] for one in before["schedules"]] == ["Europe/Oslo", "Asia/Tokyo"]
    page = browser.get("/policies/1").text
    assert re.search('name="time_zone"[^>]* value="Europe/Oslo"', page)
    assert page.count('name="schedule_zone" value="Asia/Tokyo"') == 1
    assert "several time zones" not in page


def test_who_may_not_edit_sees_no_form(browser_of: Browsers, control: Control) -> None:
    """Nor may they send it."""
    seed(control, 1, 5)
    browser = browser_of("auditor")
    assert browser.get("/sets/1/policy").status_code == 403
    form = {**FORM, "csrf_token": csrf_of(browser)}
    for address in ("/sets/1/policy", "/file-servers/1/policy", "/sets/1/policy/preview"):
        assert browser.post(address, data=form).status_code == 403
