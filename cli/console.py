"""Output of the command line: results on standard output, everything else on standard error."""

import logging
import os
import sys
from typing import IO

import click


class CommandError(Exception):
    """The command cannot do what was asked. The message is a sentence for the user."""


def say(text: str, end: str = "\n") -> None:
    """Tell on standard error what happens."""
    _write(text + end, sys.stderr)


def show(text: str) -> bool:
    """Print a result on standard output, and say whether it could be written."""
    return _write(text + "\n", sys.stdout)


def confirm(question: str, otherwise: str) -> None:
    """Ask, and raise CommandError unless the answer is yes.

    Without a terminal nothing is asked, and `otherwise` is said: what to do instead.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(f"Nothing was changed. {otherwise}")
    if not click.confirm(question, err=True):
        raise CommandError("Nothing was changed.")


def _write(text: str, stream: IO[str]) -> bool:
    try:
        click.echo(text, file=stream, nl=False)
        return True
    except OSError:
        # The terminal or the reader of the pipe is gone; the rest of the work matters more.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return False


class _Sayer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def say_what_is_logged() -> None:
    """Show what the modules that a command uses log about their work."""
    logger = logging.getLogger("tandem")
    logger.setLevel(logging.INFO)
    logger.handlers = [_Sayer()]
