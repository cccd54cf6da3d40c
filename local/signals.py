"""Signals as events that a loop waits for, so that they interrupt no step half-way."""

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Counts the requests to stop; wakes the waiting loop for these and when a child ends."""

    def __init__(self) -> None:
        self.stops = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def __enter__(self) -> Self:
        for number in (*STOPPING, signal.SIGCHLD):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: the process is meant to outlive the terminal
            signal.signal(number, self._note)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep the handlers installed: nothing may interrupt the little that is left to do."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Return at the next signal, or after `seconds`."""
        if select.select([self._read], [], [], seconds)[0]:
            os.read(self._read, 1024)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.stops += number in STOPPING
