"""The script that installs the agent on Windows."""

import re

import pytest

from backstay.agent.windows_installer import installer, one_line, quoted
from backstay.domain.errors import UsageError

SERVER = "https://backup.example:8443"
PACKAGE = f"{SERVER}/agent/windows.zip"
DIGEST = "ab" * 32


def test_says_where_from_and_what_it_must_be() -> None:
    """Server, package, digest and token are in it, and no place is left open."""
    text = installer(SERVER, package=PACKAGE, digest=DIGEST, token="a-token")
    assert f"$server = '{SERVER}'" in text
    assert f"$digest = '{DIGEST.upper()}'" in text
    assert "$token = 'a-token'" in text
    assert "@@" not in text
    assert re.search(r"Get-FileHash.*\n.*-ne \$digest.*throw", text)


@pytest.mark.parametrize(
    "text", ["plain", "it's", "'; Remove-Item C:\\ -Recurse; '", "$(calc)", "\u2019; calc; \u2018"]
)
def test_what_is_put_in_stays_text(text: str) -> None:
    """No value ends its quotes, curly ones included, which PowerShell takes for straight ones."""
    inside = quoted(text)[1:-1]
    assert re.fullmatch("(?:[^'\u2018\u2019\u201a\u201b]|(['\u2018\u2019\u201a\u201b])\\1)*", inside)
    assert re.sub("(['\u2018\u2019\u201a\u201b])\\1", r"\1", inside) == text


def test_a_value_is_never_a_place() -> None:
    """A token that looks like a place stays itself."""
    assert "$token = '@@DIGEST@@'" in installer(SERVER, package=PACKAGE, digest=DIGEST, token="@@DIGEST@@")


@pytest.mark.parametrize(
    ("server", "digest"),
    [("ftp://x", DIGEST), ("https://x y", DIGEST), (SERVER, "ab"), ("https://$(x)", DIGEST)],
)
def test_nonsense_is_refused(server: str, digest: str) -> None:
    """An address or digest that is none makes no script."""
    with pytest.raises(UsageError):
        installer(server, package=PACKAGE, digest=digest)


def test_one_line_is_enough() -> None:
    """What an administrator pastes."""
    assert one_line(SERVER + "/") == f"irm '{SERVER}/install.ps1' | iex"
