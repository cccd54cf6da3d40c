"""What the command line says to people. Results go to standard output."""

import logging
import os
import sys
from typing import IO

import typer


class CommandError(Exception):
    """The command cannot do what was asked. The message is a sentence for whoever typed it."""


def say(line: str) -> None:
    """Tell what goes on, on standard error."""
    _write(line, sys.stderr)


def show(text: str) -> None:
    """Print a result, on standard output."""
    _write(text, sys.stdout)


def _write(text: str, stream: IO[str]) -> None:
    try:
        typer.echo(text, file=stream)
    except OSError:
        # The terminal or the reader of the pipe is gone: what still has to be done matters more.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Sayer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def say_what_is_logged() -> None:
    """Show what the parts that a command uses report about their work."""
    logger = logging.getLogger("tandem")
    logger.setLevel(logging.INFO)
    logger.handlers = [_Sayer()]
