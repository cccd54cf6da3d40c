"""The processes that `tandem up` keeps running: PostgreSQL and the two services."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from local import embedded_postgres
from local.signals import Signals
from shared.host.supervision import SUPERVISOR_FD

DRAIN_SECONDS = 15.0  # more than a service gives its calls in flight


class ManagedProcess(Protocol):
    """A process, with its children, that is started, watched and stopped."""

    name: str

    def start(self) -> None:
        """Start it, or start it again after it has ended."""

    def alive(self) -> bool:
        """Whether it runs."""

    def exit_reason(self) -> str:
        """How it ended, in words."""

    def stop(self, signals: Signals) -> None:
        """Stop it gracefully, or kill it as soon as a second request to stop arrives."""


class Postgres:
    """The embedded PostgreSQL."""

    name = "PostgreSQL"

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._server: embedded_postgres.Server | None = None

    @property
    def url(self) -> str:
        """The URL of the server. A restart changes it only if the port has been taken meanwhile."""
        assert self._server
        return self._server.url

    @property
    def folder(self) -> Path:
        """The folder of its data."""
        assert self._server
        return self._server.home.cluster

    def start(self) -> None:
        """Raises EmbeddedPostgresError."""
        self._server = embedded_postgres.start(self._data_dir)

    def alive(self) -> bool:
        assert self._server
        self._server.bound_log()
        return self._server.alive()

    def exit_reason(self) -> str:
        return "its log says more"

    def stop(self, signals: Signals) -> None:
        if self._server:
            self._server.stop(at_once=signals.stops > 1)


class Service:
    """A service: `python -m <module>`, in a session of its own."""

    def __init__(
        self,
        name: str,
        module: str,
        environment: Callable[[], Mapping[str, str]],
        lifeline_fd: int,
    ) -> None:
        """`lifeline_fd` is the read end of a pipe; at its end of file the service stops."""
        self.name = name
        self._module = module
        self._environment = environment
        self._lifeline_fd = lifeline_fd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # -P: a module of the same name in the working directory is not the service.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", self._module],
            env={**self._environment(), SUPERVISOR_FD: str(self._lifeline_fd)},
            pass_fds=(self._lifeline_fd,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def exit_reason(self) -> str:
        code = self._process.returncode if self._process else 0
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def stop(self, signals: Signals) -> None:
        if not self._process:
            return
        deadline = time.monotonic() + DRAIN_SECONDS
        if self.alive():
            self._process.terminate()
        while self.alive() and signals.stops < 2 and time.monotonic() < deadline:
            signals.wait(0.1)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # and the processes that it started
        self._process.wait()
