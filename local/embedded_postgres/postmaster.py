"""Starts a postmaster on a cluster, whatever a killed one has left there."""

import logging
import os
import random
import socket
import subprocess
import time
from pathlib import Path

import psutil

from local.embedded_postgres.binaries import Binaries
from local.embedded_postgres.home import Home
from local.embedded_postgres.processes import (
    POLL_SECONDS,
    has_ended,
    is_postgres,
    processes_in,
)
from shared.host.embedded_postgres import HOST, READY, EmbeddedPostgresError, read_pid_file
from shared.host.private_files import open_private, write_whole

# Below the ports that the kernel gives to clients: a client that connects while the server restarts
# could be given the server's own port, and keep it.
PORTS = range(15432, 32768)
PORT_ATTEMPTS = 3
READY_SECONDS = 60.0  # recovery reads what was written since the last checkpoint
ORPHAN_SECONDS = 5.0  # a backend that is not computing notices at once that its postmaster died
LOG_BYTES = 5 * 2**20

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # it costs more than it saves on statements of milliseconds
    # The services log the statements that fail; this log is about the server only.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}

log = logging.getLogger("tandem.embedded_postgres")


def launch(home: Home, binaries: Binaries) -> psutil.Process:
    """Start a postmaster, if possible on the port used last, and wait until it is ready.

    Raises EmbeddedPostgresError with the last line of its log if it does not start.
    """
    clear_stale_pid(home.cluster)
    bound_log(home)
    for _ in range(PORT_ATTEMPTS):
        port = _port(home)
        process = _spawn(home, binaries, port)
        if wait_until_ready(process, home.cluster):
            return process
        if _is_free(port):
            break  # the port was not the problem
    with os.fdopen(open_private(home.log, os.O_RDONLY), errors="replace") as file:
        lines = file.read().splitlines() or ["nothing"]
    raise EmbeddedPostgresError(f"PostgreSQL did not start; {home.log} ends with: {lines[-1]}")


def wait_until_ready(process: psutil.Process, cluster: Path) -> bool:
    """Return True once it accepts connections, False if it has ended instead.

    Raises EmbeddedPostgresError after a minute; the process goes on starting.
    """
    deadline = time.monotonic() + READY_SECONDS
    while not has_ended(process):
        said = read_pid_file(cluster)
        if said and said.pid == process.pid and said.state == READY:
            return True
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"PostgreSQL in {cluster} is not ready after a minute.")
        time.sleep(POLL_SECONDS)
    return False


def bound_log(home: Home) -> None:
    """Keep the server's log and the previous one below some megabytes each, even while it runs."""
    with os.fdopen(open_private(home.log, os.O_RDWR | os.O_CREAT), "r+", errors="replace") as file:
        if os.fstat(file.fileno()).st_size > LOG_BYTES:
            write_whole(home.log.with_suffix(".log.1"), file.read())
            file.truncate(0)  # the server appends, so it continues at the new end


def _spawn(home: Home, binaries: Binaries, port: int) -> psutil.Process:
    settings = SETTINGS | {"port": str(port)}
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with os.fdopen(open_private(home.log, flags), "ab") as output:
        child = subprocess.Popen(  # noqa: S603
            home.account.command(binaries.postgres, "-D", home.cluster, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **home.account.options(home.folder),
        )
    child.returncode = 0  # it may outlive this process: Popen must not warn about that
    return psutil.Process(child.pid)


def _port(home: Home) -> int:
    """The port used last, so that clients find the server again; another one if it is taken."""
    port = home.port()
    if port is None or not _is_free(port):
        port = next(port for port in iter(_any_port, None) if _is_free(port))
        home.keep_port(port)
    return port


def _any_port() -> int:
    return random.choice(PORTS)  # noqa: S311


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def clear_stale_pid(cluster: Path) -> None:
    """Clear what a killed postmaster left: its orphans, then a pid that another process got.

    PostgreSQL takes any living process with the pid in postmaster.pid for its predecessor, and
    would never start. The file is removed only if no process at all works in the cluster.
    """
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists():
        return
    _end_orphans(cluster)
    stale = read_pid_file(cluster)
    if stale and not psutil.pid_exists(stale.pid):
        return  # PostgreSQL handles that itself, but not a file that a power cut has damaged
    for process in processes_in(cluster):
        raise EmbeddedPostgresError(
            f"Process {process.pid} works in {cluster}: PostgreSQL cannot start beside it."
        )
    pid_file.unlink()


def _end_orphans(cluster: Path) -> None:
    deadline = time.monotonic() + ORPHAN_SECONDS
    while orphans := [
        process for process in processes_in(cluster) if is_postgres(process, cluster)
    ]:
        if time.monotonic() > deadline:
            log.info("Ending what a killed PostgreSQL left running in %s", cluster)
            for orphan in orphans:
                orphan.kill()
        time.sleep(POLL_SECONDS)
