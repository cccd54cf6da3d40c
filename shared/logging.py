"""Log lines: readable on a terminal, JSON otherwise, always on standard error."""

import asyncio
import atexit
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, BinaryIO, cast

import orjson
import structlog
from structlog.typing import EventDict

from shared.settings import Settings

GATHER_SECONDS = 0.1
# How gRPC quotes metadata that is not UTF-8, which may be a token. The call has its own line.
QUOTED_METADATA = "Invalid encoding on "


def configure(
    settings: Settings, service: str, within: Callable[[], Mapping[str, str]] = dict
) -> Callable[[], None]:
    """Set up logging for the whole process.

    Every line names the service, and has the fields that `within` answers, unless it has them.
    Returns what writes the lines out that are kept for a moment: other text comes after them then.
    """
    gathered = _Gathered(sys.stderr.buffer)
    console = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        processors=[
            partial(_add_fields, service, within),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_console() if console else _json()),
        ],
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stderr)
            if console
            else structlog.BytesLoggerFactory(cast(BinaryIO, gathered))
        ),
    )
    logging.basicConfig(handlers=[_Relay()], level=logging.WARNING)
    return gathered.write_out


class _Gathered:
    """A file that is written to a few times a second, not once per line.

    Each write releases the interpreter's lock, which costs a busy service a tenth of its calls.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []
        atexit.register(self.write_out)

    def write(self, line: bytes) -> int:
        """Keep a line for GATHER_SECONDS, if an event loop runs that can write it then."""
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_later(GATHER_SECONDS, self.write_out)
            except RuntimeError:
                self.write_out()
        return len(line)

    def flush(self) -> None:
        """Called after each line. Does nothing: the lines are written after GATHER_SECONDS."""

    def write_out(self) -> None:
        """Write the lines that are kept."""
        lines, self._lines = self._lines, []
        self._file.write(b"".join(lines))
        self._file.flush()


class _Relay(logging.Handler):
    """Gives the lines of libraries our format, because a reader of JSON accepts nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(QUOTED_METADATA):
            return
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def _add_fields(
    service: str,
    within: Callable[[], Mapping[str, str]],
    _logger: object,
    _method: str,
    event: EventDict,
) -> EventDict:
    event["service"] = service
    for name, value in within().items():
        event.setdefault(name, value)
    return event


def _console() -> list[Any]:
    # Its other tracebacks show local variables, and take a quarter of a second each.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _json() -> list[Any]:
    # Frames would show local variables, and a token may be one of them.
    traceback = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    return [traceback, structlog.processors.JSONRenderer(serializer=orjson.dumps)]
