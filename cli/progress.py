"""How far a migration has come: a line that stays current on a terminal, else a line per step."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.console import say

Show: TypeAlias = Callable[[str], None]

ALEMBIC = logging.getLogger("alembic.runtime.migration")
OURS = logging.getLogger("tandem.migrations")


class _Follower(logging.Filter):
    """Shows what is said in passing, and lets warnings go their way."""

    def __init__(self, show: Show) -> None:
        super().__init__()
        self._show = show

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO:
            return True
        if record.name == OURS.name:
            self._show(record.getMessage())
        elif record.msg == "Running %s" and isinstance(record.args, tuple):
            self._show(_described(record.args[0]))
        return False


def _described(step: Any) -> str:
    """A step of Alembic's, which is to or from one revision."""
    return f"{'Upgrade to' if step.is_upgrade else 'Undo'} {step.revision.revision}"


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show on standard error which revision and which step of it runs, and since when."""
    shown = _live if sys.stderr.isatty() else _line_by_line
    with shown() as show, _followed(_Follower(show)):
        yield


@contextmanager
def _live() -> Iterator[Show]:
    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Waiting for the database", total=None)
        yield lambda text: progress.update(task, description=text)


@contextmanager
def _line_by_line() -> Iterator[Show]:
    start = time.monotonic()
    yield lambda text: say(f"{time.monotonic() - start:6.1f} s  {text}")


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
