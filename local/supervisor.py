"""Restarts processes that end, and gives up on one that never lasts."""

import logging
import time
from collections.abc import Sequence

from local.errors import LocalError
from local.processes import ManagedProcess
from local.signals import Signals
from shared.host.embedded_postgres import EmbeddedPostgresError

TICK_SECONDS = 0.25
STEADY_SECONDS = 10.0  # a process that lasted this long has started successfully
RESTARTS = 5
FIRST_DELAY_SECONDS = 0.5

log = logging.getLogger("tandem.supervisor")


class Supervised:
    """A process that is restarted when it ends, after a delay that doubles each time."""

    def __init__(self, process: ManagedProcess) -> None:
        self.process = process
        self._started = time.monotonic()
        self._failures = 0
        self._restart_at: float | None = None

    def check(self) -> None:
        """Notice that the process has ended, or restart it if its delay is over.

        Raises LocalError if it has ended again soon after each of RESTARTS restarts in a row.
        """
        if self._restart_at is None:
            if not self.process.alive():
                self._schedule_restart(self.process.exit_reason())
        elif time.monotonic() >= self._restart_at:
            self._restart()

    def _schedule_restart(self, reason: str) -> None:
        lasted = time.monotonic() - self._started >= STEADY_SECONDS
        self._failures = 1 if lasted else self._failures + 1
        name = self.process.name
        if self._failures > RESTARTS:
            raise LocalError(f"{name} ended {self._failures} times in a row ({reason}).")
        delay = FIRST_DELAY_SECONDS * 2 ** (self._failures - 2) if self._failures > 1 else 0.0
        self._restart_at = time.monotonic() + delay
        log.info("%s ended (%s) and is restarted.", name, reason)

    def _restart(self) -> None:
        self._restart_at = None
        self._started = time.monotonic()
        try:
            self.process.start()
        except EmbeddedPostgresError as error:
            self._schedule_restart(str(error))


def keep_running(processes: Sequence[ManagedProcess], signals: Signals) -> None:
    """Restart what ends, until a signal asks to stop.

    Raises LocalError if a process never lasts.
    """
    supervised = [Supervised(process) for process in processes]
    while not signals.stops:
        for each in supervised:
            each.check()
        signals.wait(TICK_SECONDS)
