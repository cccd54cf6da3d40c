"""The tie between `tandem up` and the services it starts: they end with it."""

import os
import signal
from threading import Thread

SUPERVISOR_FD = "TANDEM_SUPERVISOR_FD"
"""Names the read end of a pipe whose write end only the supervisor holds."""


def watch_parent() -> None:
    """Let the end of the supervisor, `kill -9` included, end this process as SIGTERM does.

    Without a supervisor it does nothing.
    """
    if descriptor := os.environ.get(SUPERVISOR_FD):
        Thread(target=_end_with_supervisor, args=(int(descriptor),), daemon=True).start()


def _end_with_supervisor(descriptor: int) -> None:
    try:
        os.read(descriptor, 1)  # nothing is ever written: this returns when the supervisor is gone
    except OSError:
        return  # the variable was inherited, but not the pipe: there is no supervisor
    os.kill(os.getpid(), signal.SIGTERM)
