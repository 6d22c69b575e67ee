"""What a command's end means for the shell: a line that says what and what to do, and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from howdah import errors

OK, FAILED, USAGE, NOT_FOUND, HELD_UP, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class NotAnApp(errors.InvalidOption):
    """MODULE:APP names nothing that a worker could run."""


class BrokenApp(errors.HowdahError):
    """The user's own module fails while it is imported."""


def guarded(arguments: Sequence[str]) -> int:
    """Run the command line; whatever happens, the answer is an exit code and at most two lines on stderr."""
    debug = _wants_debug(arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has what it wanted (`howdah ls | head -1`). Python would complain once more at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            _print_traceback()
        return report(error)


def _run(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError, UnusedCliTokensError

    from howdah.cli.commands import shell

    # Text that this terminal's encoding lacks is escaped, not an error.
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    app = shell()
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        command = " ".join(["howdah", *(error.command_chain or ())])
        said = str(error).strip()
        if isinstance(error, UnusedCliTokensError):
            said = f"too many arguments: {' '.join(error.unused_tokens or ())}"
        say_error(said, hint=f"See: {command} --help")
        return USAGE
    return code if isinstance(code, int) else OK


def report(error: Exception) -> int:
    """Say what went wrong; returns the exit code for it."""
    if isinstance(error, errors.HowdahError):
        say_error(error.message, error.hint)
        match error:
            case errors.InvalidOption() | errors.InvalidPayload():
                return USAGE
            case errors.TaskNotFound() | errors.ScheduleNotFound() | errors.UnknownKind():
                return NOT_FOUND
            case _:
                return FAILED
    said = " ".join(str(error).split()) or type(error).__name__
    if type(error).__module__.partition(".")[0] in ("psycopg", "psycopg_pool"):
        say_error(said)
    else:
        say_error(
            f"{type(error).__name__}: {said}", "This is a mistake in howdah; --debug shows where. Please report it"
        )
    return FAILED


def say_error(message: str, hint: str | None = None) -> None:
    """`error: …` and `hint: …` on stderr, without passwords and control characters."""
    say(_without_passwords(message), label="error", style="bold red")
    if hint:
        say(hint, label="hint", style="bold")


def say(text: str, *, label: str = "", style: str = "") -> None:
    """A line on stderr, where everything goes that is not data."""
    from howdah.cli.output import escaped

    if (label and sys.stderr.isatty()) or os.environ.get("FORCE_COLOR"):
        from rich.console import Console
        from rich.text import Text

        line = Text(f"{label}: ", style=style) if label else Text()
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            line.append(escaped(text, lines=True), style="not bold default")
        )
    else:
        print(f"{label}: " * bool(label) + escaped(text, lines=True), file=sys.stderr)


def _without_passwords(text: str) -> str:
    if "password" not in text.lower() and "://" not in text:
        return text
    from howdah.db.failures import without_password

    return without_password(text)


def _print_traceback() -> None:
    import traceback

    print(_without_passwords(traceback.format_exc()), file=sys.stderr, end="")


def _wants_debug(arguments: Sequence[str]) -> bool:
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--debug" in before
