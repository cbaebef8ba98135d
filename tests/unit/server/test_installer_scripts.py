"""The scripts that install the agent on a file server, and the lines that fetch them."""

import re
import shlex
import subprocess

import pytest

from backstay.domain.errors import UsageError
from backstay.server.installing.scripts import (
    LINUX,
    WINDOWS,
    installer,
    line_for_linux,
    line_for_windows,
    quoted,
)

SERVER = "https://backup.example:8443"
PACKAGE = f"{SERVER}/agents/backstay.zip"
DIGEST = "ab" * 32


@pytest.mark.parametrize("script", [LINUX, WINDOWS])
def test_says_where_from_and_what_it_must_be(script: str) -> None:
    """Server, package and digest are in it, and no place is left open."""
    text = installer(script, SERVER, package=PACKAGE, digest=DIGEST)
    assert SERVER in text
    assert PACKAGE in text
    assert DIGEST in text.lower()
    assert "@@" not in text


def test_nothing_is_unpacked_before_it_is_checked() -> None:
    """The digest is compared right after the download."""
    text = installer(WINDOWS, SERVER, package=PACKAGE, digest=DIGEST)
    assert re.search(r"Get-FileHash.*\n.*-ne \$digest.*throw", text)
    assert text.index("-ne $digest") < text.index("Expand-Archive")
    assert text.lstrip().splitlines()[2].startswith("param("), "PowerShell wants it before all else"


@pytest.mark.parametrize(
    "text", ["plain", "it's", "'; Remove-Item C:\\ -Recurse; '", "$(calc)", "\u2019; calc; \u2018"]
)
def test_what_is_put_in_stays_text(text: str) -> None:
    """No value ends its quotes, curly ones included, which PowerShell takes for straight ones."""
    inside = quoted(text)[1:-1]
    assert re.fullmatch("(?:[^'\u2018\u2019\u201a\u201b]|(['\u2018\u2019\u201a\u201b])\\1)*", inside)
    assert re.sub("(['\u2018\u2019\u201a\u201b])\\1", r"\1", inside) == text


@pytest.mark.parametrize("script", [LINUX, WINDOWS])
@pytest.mark.parametrize(
    ("server", "digest"),
    [("ftp://x", DIGEST), ("https://x y", DIGEST), (SERVER, "ab"), ("https://$(x)", DIGEST)],
)
def test_nonsense_is_refused(script: str, server: str, digest: str) -> None:
    """An address or digest that is none makes no script."""
    with pytest.raises(UsageError):
        installer(script, server, package=PACKAGE, digest=digest)


def test_a_line_runs_only_what_has_the_digest() -> None:
    """What it fetches is compared before anything is run, and the token is one word."""
    windows = line_for_windows(SERVER + "/", DIGEST, "it's")
    assert f"'{SERVER}/install.ps1'" in windows
    assert windows.index(DIGEST.upper()) < windows.index("-File $f 'it''s'")
    linux = line_for_linux(SERVER + "/", DIGEST, "it's")
    assert shlex.quote("it's") in linux
    assert linux.index("sha256sum -c") < linux.index('sh "$f"')
    assert subprocess.run(["sh", "-n", "-c", linux], check=False).returncode == 0
    script = installer(LINUX, SERVER, package=PACKAGE, digest=DIGEST)
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
