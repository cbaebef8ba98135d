"""The program `backstay`: runs one command, and turns whatever happens into an exit code.

0 done · 1 failed · 2 wrong usage · 3 done with warnings
"""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from backstay.cli.output import Output

DONE, FAILED, WRONG_USAGE, WARNINGS = 0, 1, 2, 3


def run() -> NoReturn:
    """The entry point of the executable."""
    try:
        _prepare()
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("backstay: cancelled", file=sys.stderr)
        code = FAILED
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        code = FAILED
    except OSError as error:
        _forget_stdout()
        if code != FAILED:
            print(f"backstay: the output cannot be written: {error.strerror}", file=sys.stderr)
        code = FAILED
    sys.exit(code)


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return its exit code."""
    import click

    from backstay.cli import failures
    from backstay.cli.app import command_line
    from backstay.domain.errors import BackstayError

    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    output = Output(as_json="--json" in options)
    try:
        result = command_line().main(arguments, prog_name="backstay", standalone_mode=False)
        return result if isinstance(result, int) else DONE
    except BackstayError as error:
        return failures.report_error(error, output)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if "\n" in error.format_message():  # called without any arguments: the message is the help
            print(error.format_message(), file=sys.stderr)
            return WRONG_USAGE
        path = context.command_path if context is not None else "backstay"
        return failures.report_usage(error.format_message(), f"see `{path} --help`", output)
    except (KeyboardInterrupt, click.Abort):
        return failures.report_interrupt(output)
    except BrokenPipeError:
        _forget_stdout()
        return FAILED
    except OSError as error:
        return failures.report_os_error(error, output)
    except Exception as error:  # noqa: BLE001  the outermost place: a defect must not show a traceback
        return failures.report_defect(error, output)


def _prepare() -> None:
    """Names that are no text must never stop a line, and a termination signal ends like Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _interrupt)
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _forget_stdout() -> None:
    """Whoever read standard output is gone: the interpreter must not try to flush to it again."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
