"""The embedded PostgreSQL: a server on 127.0.0.1, whose data is in a data folder."""

import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from local.embedded_postgres.binaries import find_binaries
from local.embedded_postgres.cluster import create_cluster
from local.embedded_postgres.home import Home, locate_or_create
from local.embedded_postgres.postmaster import bound_log, launch, wait_until_ready
from local.embedded_postgres.processes import ends_within, find_postmaster, has_ended
from local.embedded_postgres.roles import ensure_service_role
from local.embedded_postgres.takeover import take_from_nobody
from shared.host.embedded_postgres import OWNER, SERVICE, read_pid_file, server_url

FAST_SECONDS = 20.0  # a fast shutdown writes a checkpoint
IMMEDIATE_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """A server that accepts connections, unless it has ended since."""

    home: Home
    process: psutil.Process
    port: str
    adopted: bool
    """Whether it was running before it was asked for."""

    @property
    def url(self) -> str:
        """The owner's, who may do everything. It has the password: never log it."""
        return server_url(OWNER, self.home.password(), self.port)

    @property
    def service_url(self) -> str:
        """The services', who may read and write rows. It has the password: never log it."""
        return server_url(SERVICE, self.home.service_password(), self.port)

    def alive(self) -> bool:
        """Whether the postmaster runs."""
        return not has_ended(self.process)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it and wait for its end. `at_once` skips the checkpoint: the next start recovers."""
        if not at_once and self._ends_by(signal.SIGINT, FAST_SECONDS):
            return
        if not self._ends_by(signal.SIGQUIT, IMMEDIATE_SECONDS):
            self._ends_by(signal.SIGKILL, IMMEDIATE_SECONDS)

    def bound_log(self) -> None:
        """Limit the size of its log; to be called now and then while it runs."""
        bound_log(self.home)

    def _ends_by(self, number: int, seconds: float) -> bool:
        with suppress(psutil.NoSuchProcess):
            self.process.send_signal(number)
        return ends_within(self.process, seconds)


def start(data_dir: Path) -> Server:
    """The server on the data in `data_dir`: the running one, or a new one (on a new database).

    Returns once it accepts connections, also those of the services. Raises EmbeddedPostgresError,
    and UnsafeFileError if another account can change the data.
    """
    server = _adopt_or_launch(data_dir)
    ensure_service_role(server.url, server.home.service_password())
    return server


def _adopt_or_launch(data_dir: Path) -> Server:
    home = locate_or_create(data_dir)
    running = find_postmaster(home.cluster)
    if running and wait_until_ready(running, home.cluster):
        return Server(home, running, _port(home), adopted=True)
    home = take_from_nobody(home)
    binaries = find_binaries(home)
    home.password()  # if it is gone, a server must not start, since no client could connect
    if not home.cluster.exists():
        create_cluster(home, binaries)
    return Server(home, launch(home, binaries), _port(home), adopted=False)


def _port(home: Home) -> str:
    found = read_pid_file(home.cluster)
    assert found, "a server that accepts connections has written its pid file"
    return found.port
