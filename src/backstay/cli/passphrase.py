"""Where a passphrase comes from: a file, the environment, or a question on the terminal."""

import os
import stat
import sys
from pathlib import Path

from backstay.cli.output import Output
from backstay.domain.errors import UsageError

VARIABLE = "BACKSTAY_PASSPHRASE"
NEW_VARIABLE = "BACKSTAY_NEW_PASSPHRASE"

_LONGEST = 64 * 1024


def read_passphrase(file: Path | None, output: Output) -> str:
    """The passphrase of a repository that exists. Raises UsageError where there is none to be had."""
    return _given(file, VARIABLE, output) or _ask("passphrase: ", "--passphrase-file", VARIABLE)


def choose_passphrase(
    file: Path | None,
    output: Output,
    *,
    variable: str = VARIABLE,
    option: str = "--passphrase-file",
    what: str = "passphrase",
) -> str:
    """A new passphrase or password; asked for twice on a terminal. Raises UsageError where there is none."""
    given = _given(file, variable, output, what)
    if given is not None:
        return given
    first = _ask(f"new {what}: ", option, variable, what)
    if first != _ask("the same again: ", option, variable, what):
        raise UsageError(f"the two {what}s are not the same", hint="try again")
    return first


def read_password(file: Path | None, variable: str, output: Output) -> str | None:
    """A person's password from a file or the environment; None where neither gives one. Raises UsageError."""
    return _given(file, variable, output, "password")


def _given(file: Path | None, variable: str, output: Output, what: str = "passphrase") -> str | None:
    found = _from_file(file, output, what) if file is not None else os.environ.get(variable)
    if found == "":
        where = str(file) if file is not None else f"the variable {variable}"
        raise UsageError(f"the {what} in {where} is empty", hint="give one of several words")
    return found


def _from_file(file: Path, output: Output, what: str) -> str:
    """The file's content without the line end; raises UsageError where it cannot be read."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            raw = opened.read(_LONGEST)
    except OSError as error:
        raise UsageError(
            f"the {what} file {file} cannot be read: {error.strerror}", hint="check its path and mode"
        ) from None
    if stat.S_ISREG(mode) and mode & 0o044:
        output.note(f"warning: others can read the {what} file {file}; run: chmod 600 {file}")
    return raw.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")


def _ask(question: str, option: str, variable: str, what: str = "passphrase") -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"no {what} was given",
            hint=f"set {variable}, or give {option} FILE, or run it on a terminal to be asked",
        )
    import getpass

    try:
        return getpass.getpass(question)
    except EOFError:
        raise UsageError(f"no {what} was given", hint=f"set {variable}, or give {option} FILE") from None
