"""Who runs on a cluster: found by proof, never by a number in a file alone."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_SECONDS = 0.01
PROGRAM = "postgres"
READY = "ready"  # what a postmaster writes about itself once it accepts connections


@dataclass(frozen=True)
class PidFile:
    """What `postmaster.pid` of a cluster says. A line that is not written yet reads as empty."""

    pid: int
    port: str
    state: str


def read_pid_file(cluster: Path) -> PidFile | None:
    """None where there is none, or nothing in it yet."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))
    return PidFile(int(lines[0]), lines[3], lines[7].strip()) if lines[0].isdigit() else None


def find_postmaster(cluster: Path) -> psutil.Process | None:
    """The live postmaster of this cluster.

    The pid in postmaster.pid may have gone to somebody else since, so the process has to be a
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
    """Whether it is gone; a child of ours that ended is reaped, any other zombie counts as gone."""
    try:
        with contextlib.suppress(psutil.TimeoutExpired):
            if process.is_running():
                process.wait(timeout=0)
            return True
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it went between two looks
        return True


def ends_within(process: psutil.Process, seconds: float) -> bool:
    """Wait for its end; whether it came. Nobody has to reap it for that, as it may be an orphan."""
    deadline = time.monotonic() + seconds
    while not has_ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def processes_in(cluster: Path) -> Iterator[psutil.Process]:
    """Every process that works in this folder, as all of PostgreSQL's processes do."""
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
