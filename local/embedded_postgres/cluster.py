"""Makes a cluster completely, or not at all."""

import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from local.embedded_postgres.binaries import Binaries
from local.embedded_postgres.home import Home
from local.embedded_postgres.processes import ends_within, processes_in
from shared.host.embedded_postgres import DATABASE, OWNER
from shared.host.private_files import write_whole

STAGING = "postgres.new-"
BUILDERS = ("initdb", "postgres")
BUILDER_SECONDS = 5.0

log = logging.getLogger("tandem.embedded_postgres")


def create_cluster(home: Home, binaries: Binaries) -> None:
    """Make the cluster of `home`, with the database in it.

    It is built beside its place and renamed into it, so that a kill at any moment leaves no
    incomplete cluster that a later start would trust.
    """
    log.info("Making a new database in %s", home.cluster)
    for leftover in home.folder.glob(f"{STAGING}*"):
        _clear(leftover)
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=home.folder))
    try:
        password_file = _password_file(staging, home)
        home.account.own(staging)
        _build(staging, home, binaries, password_file)
        (staging / "data").rename(home.cluster)
        _flush(home.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear(leftover: Path) -> None:
    """Remove what a killed start was building, and end the processes that still build it."""
    for folder in (leftover, leftover / "data"):
        for process in processes_in(folder):
            with suppress(psutil.NoSuchProcess):
                if process.name() in BUILDERS:
                    process.kill()
                    ends_within(process, BUILDER_SECONDS)
    shutil.rmtree(leftover, ignore_errors=True)


def _build(staging: Path, home: Home, binaries: Binaries, password_file: Path) -> None:
    """Build it in `staging`. It is flushed at the end only: nothing uses it before the rename."""
    data = staging / "data"
    run = home.account.run
    run(
        staging,
        *(binaries.initdb, "-D", data, "-U", OWNER.role, "-E", "UTF8", "--locale=C.UTF-8"),
        *("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync"),
    )
    single_user = (binaries.postgres, "--single", "-D", data, "-c", "fsync=off", "postgres")
    run(staging, *single_user, stdin=f"CREATE DATABASE {DATABASE}\n")
    run(staging, binaries.initdb, "--sync-only", "-D", data)


def _password_file(staging: Path, home: Home) -> Path:
    """A copy that the account can read; it is removed with the staging folder.

    It is written while the staging folder is still the caller's: no other account can put a link in
    its place.
    """
    path = staging / "password"
    write_whole(path, home.password())
    home.account.own(path)
    return path


def _flush(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
