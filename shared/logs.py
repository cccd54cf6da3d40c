"""Log lines: readable on a terminal, JSON otherwise, always on standard error."""

import logging
import sys
from typing import Any

import orjson
import structlog

from shared.settings import Settings


def configure(settings: Settings, service: str) -> None:
    """Set up logging for the whole process; every line names the service."""
    console = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_console() if console else _json()),
        ],
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stderr)
            if console
            else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s"
    )


def _console() -> list[Any]:
    return [structlog.dev.ConsoleRenderer()]


def _json() -> list[Any]:
    # Frames would show local variables, and a token may be one of them.
    traceback = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    return [traceback, structlog.processors.JSONRenderer(serializer=orjson.dumps)]
