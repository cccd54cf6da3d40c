"""The services that `tandem up` starts end with it, even if it is killed."""

import os
import signal
from threading import Thread

SUPERVISOR_FD = "TANDEM_SUPERVISOR_FD"
"""The environment variable with the read end of a pipe; only the supervisor has the write end."""


def supervised() -> bool:
    """Whether `tandem up` has started this process."""
    return SUPERVISOR_FD in os.environ


def watch_supervisor() -> None:
    """End this process as SIGTERM does when its supervisor ends, `kill -9` included.

    Does nothing if there is no supervisor.
    """
    if descriptor := os.environ.get(SUPERVISOR_FD):
        Thread(target=_end_with_it, args=(int(descriptor),), daemon=True).start()


def _end_with_it(descriptor: int) -> None:
    try:
        os.read(descriptor, 1)  # nothing is written: this returns when the supervisor has ended
    except OSError:
        return  # only the variable was inherited, not the pipe: there is no supervisor
    os.kill(os.getpid(), signal.SIGTERM)
