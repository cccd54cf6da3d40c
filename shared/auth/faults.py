"""What is wrong with a token: for the log, never for the client.

A line has what a token said only if that is printable and short, and never the token itself or a
part of its signature.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from shared.auth.caller import current_call
from shared.auth.rate import Rate

log = structlog.get_logger()

# Strangers can send any number of tokens; the line of each call has its own reason.
LINES_PER_SECOND = 5.0
LINES_AT_ONCE = 20
SHOWN_CHARACTERS = 100
SHOWN_VALUES = 5


@dataclass(eq=False)
class Fault(Exception):  # noqa: N818
    """A token is refused. `kind` names the fault, `claim` the claim or header, if it is one.

    `expected` is what is configured; `found` is what the token says.
    """

    kind: str
    claim: str | None = None
    expected: str | None = None
    found: Any = None
    issuer: str | None = None


class FaultLog:
    """Logs faults, LINES_PER_SECOND at most; a line says how many were left out before it."""

    def __init__(self) -> None:
        self._rate = Rate(LINES_PER_SECOND, LINES_AT_ONCE)
        self._left_out = 0

    def report(self, fault: Fault) -> None:
        """Log a line, unless there were too many."""
        if not self._rate.take():
            self._left_out += 1
            return
        call = current_call.get(None)
        said = {
            "fault": fault.kind,
            "claim": fault.claim,
            "expected": fault.expected,
            "found": shown(fault.found),
            "issuer": fault.issuer,
            "left_out": self._left_out or None,
            "request_id": call.request_id if call else None,
        }
        log.info("token refused", **{name: v for name, v in said.items() if v is not None})
        self._left_out = 0


def shown(value: Any) -> str | None:
    """A value of a token as it may stand in a log; None if there is none."""
    if value is None:
        return None
    if isinstance(value, list) and 0 < len(value) <= SHOWN_VALUES:
        return _short(", ".join(str(shown(each)) for each in value))
    if isinstance(value, str | int | float):
        return _short(str(value))
    return "(not shown)"


def listed(values: Iterable[str]) -> str:
    """What is configured, in a line."""
    return ", ".join(values)


def _short(text: str) -> str:
    sound = len(text) <= SHOWN_CHARACTERS and text.isprintable()
    return text if sound else "(not shown)"
