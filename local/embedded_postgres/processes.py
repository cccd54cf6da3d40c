"""The processes that run on a cluster. A number in a file alone never proves that one does."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from shared.host.embedded_postgres import read_pid_file

POLL_SECONDS = 0.01
PROGRAM = "postgres"


def find_postmaster(cluster: Path) -> psutil.Process | None:
    """The live postmaster of this cluster.

    Another process may have got the pid in postmaster.pid since, so the process has to be a
    PostgreSQL that belongs to the cluster's owner and was started on this very folder.
    """
    recorded = read_pid_file(cluster)
    try:
        process = psutil.Process(recorded.pid) if recorded else None
        return process if process and _runs_on(process, cluster) else None
    except psutil.Error:
        return None


def _runs_on(process: psutil.Process, cluster: Path) -> bool:
    with process.oneshot():
        return (
            process.name() == PROGRAM
            and process.uids().real == cluster.stat().st_uid
            and str(cluster) in process.cmdline()
            and not has_ended(process)
        )


def has_ended(process: psutil.Process) -> bool:
    """Whether it has ended. A child of this process is reaped; any other zombie counts as ended."""
    try:
        with contextlib.suppress(psutil.TimeoutExpired):
            if process.is_running():
                process.wait(timeout=0)
            return True
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between two checks
        return True


def ends_within(process: psutil.Process, seconds: float) -> bool:
    """Wait for its end, and return whether it came. It may be an orphan that no process reaps."""
    deadline = time.monotonic() + seconds
    while not has_ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def processes_in(cluster: Path) -> Iterator[psutil.Process]:
    """Every process with this working directory, which all of PostgreSQL's processes have."""
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(cluster):
                yield process
        except psutil.Error:
            continue


def is_postgres(process: psutil.Process, cluster: Path) -> bool:
    """Whether it is one of the cluster owner's PostgreSQL processes."""
    try:
        return process.name() == PROGRAM and process.uids().real == cluster.stat().st_uid
    except psutil.Error:
        return False
