"""Text for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.cli.text import counted, local_time, seconds, shown, table


@given(st.binary())
def test_no_name_can_harm_a_terminal(name):
    """Whatever bytes a name has, what is shown is printable and can be encoded."""
    assert shown(name).isprintable()
    shown(name).encode("utf-8")


def test_what_is_printable_is_shown_as_it_is():
    """Letters stay; controls, line ends, reversed writing and bytes that are no text are escaped."""
    assert shown("Grüße/日本") == "Grüße/日本"
    assert shown(b"a\n\x1b[1m\xff") == "a\\n\\x1b[1m\\xff"
    assert shown("\u202egpj.exe") == "\\u202egpj.exe"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.000 s"),
        (1_500_000_000, "1.5 s"),
        (65_000_000_000, "1 min 5 s"),
        (3_720_000_000_000, "1 h 2 min"),
    ],
)
def test_durations(nanoseconds, text):
    """From milliseconds to hours."""
    assert seconds(nanoseconds) == text


def test_counting():
    """A noun follows its number."""
    assert (counted(1, "file"), counted(2000, "file")) == ("1 file", "2,000 files")
    assert counted(0, "entry", "entries") == "0 entries"


@given(st.integers(-(2**80), 2**80))
def test_no_time_is_too_strange_to_be_shown(time_ns):
    """A restore point of any time is listed."""
    assert local_time(time_ns)


def test_tables_line_up():
    """Columns are as wide as their widest cell, numbers to the right."""
    assert table(("A", "N"), [("long", "1"), ("x", "200")], right=(1,)) == "A       N\nlong    1\nx     200"
