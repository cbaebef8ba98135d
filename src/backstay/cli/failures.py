"""What the user sees when something goes wrong: one sentence, a hint, an exit code; never a traceback."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import backstay
from backstay.cli.output import Output
from backstay.cli.text import shown
from backstay.domain.errors import BackstayError


def report_error(error: BackstayError, output: Output) -> int:
    """Say what happened, and return the exit code."""
    _say(output, type(error).__name__, error.what, error.hint, error.exit_code)
    return error.exit_code


def report_usage(what: str, hint: str, output: Output) -> int:
    """The command line itself cannot be understood."""
    _say(output, "UsageError", what, hint, 2)
    return 2


def report_interrupt(output: Output) -> int:
    """Ctrl-C or a termination signal came while nothing could be ended in order."""
    _say(
        output,
        "Cancelled",
        "cancelled",
        "the repository is in order: what was stored so far will not be sent again",
        1,
    )
    return 1


def report_os_error(error: OSError, output: Output) -> int:
    """The operating system refused something that no part of Backstay was prepared for."""
    what = error.strerror or str(error)
    if error.filename is not None:
        what = f"{os.fsdecode(error.filename)}: {what}"
    _say(output, "OSError", what, "check that the file or folder is there and may be used", 1)
    return 1


def report_defect(error: Exception, output: Output) -> int:
    """A defect of Backstay: the traceback goes to a file, not to the screen."""
    file = _keep_traceback(error)
    kept = f" and send {file} along, which says where it happened" if file else ""
    _say(
        output,
        "Defect",
        f"sorry, this is a defect of Backstay ({type(error).__name__}: {error})",
        f"please report it to whoever gave you Backstay{kept}",
        1,
    )
    return 1


def _say(output: Output, kind: str, what: str, hint: str, code: int) -> None:
    output.event("error", {"error": kind, "what": what, "hint": hint, "exit_code": code})
    output.note(what)
    if hint:
        print(f"  hint: {shown(hint)}", file=sys.stderr)


def _keep_traceback(error: Exception) -> Path | None:
    import platform
    import traceback

    from backstay.system.places import state_root

    about = f"Backstay {backstay.__version__}, Python {platform.python_version()}, {platform.platform()}\n\n"
    text = about + "".join(traceback.format_exception(error))
    with suppress(OSError):
        folder = state_root() / "defects"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text.encode("utf-8", "backslashreplace").decode())
        return file
    return None
