"""Shows the progress of a migration: one current line on a terminal, else a line per step."""

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock, Thread
from typing import Any, Protocol

from cli.console import say

ALEMBIC = logging.getLogger("alembic.runtime.migration")
OURS = logging.getLogger("tandem.migrations")
REDRAW_SECONDS = 0.5
ERASE_LINE = "\r\x1b[2K"


class _Display(Protocol):
    def step(self, text: str) -> None:
        """Show which step runs."""

    def message(self, text: str) -> None:
        """Show a text that stays."""


class _Lines:
    """Each step is a line, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def step(self, text: str) -> None:
        say(f"{time.monotonic() - self._start:6.1f} s  {text}")

    def message(self, text: str) -> None:
        say(text)


class _CurrentLine:
    """The last line of the terminal has the time since the start and the step."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._step = "Waiting for the database"
        self._lock = Lock()
        self._over = Event()

    def step(self, text: str) -> None:
        with self._lock:
            self._step = text
            self._draw()

    def message(self, text: str) -> None:
        with self._lock:
            say(f"{ERASE_LINE}{text}")
            self._draw()

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Keep the time current; in the end, erase the line."""
        thread = Thread(target=self._redraw)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            say(ERASE_LINE, end="")

    def _redraw(self) -> None:
        while not self._over.is_set():
            with self._lock:
                self._draw()
            self._over.wait(REDRAW_SECONDS)

    def _draw(self) -> None:
        elapsed = timedelta(seconds=int(time.monotonic() - self._start))
        columns = shutil.get_terminal_size().columns
        say(ERASE_LINE + f"{elapsed} {self._step}"[: columns - 1], end="")


class _Follower(logging.Filter):
    """Turns the records of a migration into steps and messages; none goes any further."""

    def __init__(self, display: _Display) -> None:
        super().__init__()
        self._display = display

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO:
            self._display.message(record.getMessage())
        elif record.name == OURS.name:
            self._display.step(record.getMessage())
        elif record.msg == "Running %s" and isinstance(record.args, tuple):
            self._display.step(_description(record.args[0]))
        return False


def _description(step: Any) -> str:
    """A step of Alembic's, which is to or from one revision."""
    return f"{'Upgrade to' if step.is_upgrade else 'Undo'} {step.revision.revision}"


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show on standard error which revision and which step of it runs, and for how long."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        line = _CurrentLine()
        with line.redrawn(), _followed(_Follower(line)):
            yield
    else:
        with _followed(_Follower(_Lines())):
            yield


@contextmanager
def _followed(follower: _Follower) -> Iterator[None]:
    level = ALEMBIC.level
    ALEMBIC.setLevel(logging.INFO)
    for logger in (ALEMBIC, OURS):
        logger.addFilter(follower)
    try:
        yield
    finally:
        for logger in (ALEMBIC, OURS):
            logger.removeFilter(follower)
        ALEMBIC.setLevel(level)
