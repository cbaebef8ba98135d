"""The last lines of the agent's log, as they are told to its server."""

import structlog

from backstay.agent.recent_log import RecentLog


def test_lines_are_told_once_in_order_without_secrets() -> None:
    """Each with its level and facts; what could not be told is told next time."""
    log = RecentLog()
    event = {"event": "enrolled", "level": "warning", "token": "abc", "job": 7, "timestamp": "x"}
    assert log(None, "warning", event) == event
    log(None, "info", {"event": "second"})
    told = log.take()
    assert [(one.level, one.text) for one in told] == [
        ("warning", "enrolled token=******** job=7"),
        ("info", "second"),
    ]
    assert log.take() == []
    log(None, "info", {"event": "third"})
    log.give_back(told)
    assert [one.text for one in log.take()][1:] == ["second", "third"]


def test_a_flood_is_bounded() -> None:
    """The newest lines stay, and one message carries some of them."""
    log = RecentLog()
    for number in range(1000):
        log(None, "info", {"event": f"line {number} {'x' * 2000}"})
    first = log.take()
    assert len(first) == 50
    log.give_back(first)
    told = first
    while lines := log.take():
        told = lines
    assert told[-1].text.startswith("line 999 ")
    assert len(told[-1].text) <= 1000


def test_it_listens_to_what_the_process_logs() -> None:
    """Beside what is configured already, and only once."""
    before = structlog.get_config()
    log = RecentLog()
    try:
        structlog.configure(processors=[lambda logger, method, event: "dropped"])
        log.listen()
        log.listen()
        structlog.get_logger().info("agent started", server="https://backstay.test")
    finally:
        structlog.configure(**before)
    assert [one.text for one in log.take()] == ["agent started server=https://backstay.test"]
