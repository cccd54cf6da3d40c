"""Keeps parts running: what ends is started again, unless it never lasts."""

import time
from collections.abc import Sequence

from cli.console import CommandError, say
from local.embedded_postgres import EmbeddedPostgresError
from local.processes import Part
from local.signals import Signals

TICK_SECONDS = 0.25
STEADY_SECONDS = 10.0  # whoever lasted this long has not failed to start
TRIES = 5
FIRST_DELAY_SECONDS = 0.5


class Kept:
    """A part that is started again when it ends, each time a little later."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._started = time.monotonic()
        self._failures = 0
        self._due: float | None = None

    def tend(self) -> None:
        """Notice that the part ended, or start it when its time has come.

        Raises CommandError when it has not lasted, TRIES new starts in a row.
        """
        if self._due is None:
            if not self.part.alive():
                self._note(self.part.ending())
        elif time.monotonic() >= self._due:
            self._start()

    def _note(self, how: str) -> None:
        lasted = time.monotonic() - self._started >= STEADY_SECONDS
        self._failures = 1 if lasted else self._failures + 1
        if self._failures > TRIES:
            raise CommandError(f"{self.part.name} ended {self._failures} times in a row ({how}).")
        delay = FIRST_DELAY_SECONDS * 2 ** (self._failures - 2) if self._failures > 1 else 0.0
        self._due = time.monotonic() + delay
        say(f"{self.part.name} ended ({how}); it is started again.")

    def _start(self) -> None:
        self._due = None
        self._started = time.monotonic()
        try:
            self.part.start()
        except EmbeddedPostgresError as error:
            self._note(str(error))


def keep_running(parts: Sequence[Part], signals: Signals) -> None:
    """Return when a signal asks to stop. Raises CommandError when a part never lasts."""
    kept = [Kept(part) for part in parts]
    while not signals.stops:
        for each in kept:
            each.tend()
        signals.wait(TICK_SECONDS)
