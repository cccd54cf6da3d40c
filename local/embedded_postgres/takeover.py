"""Gives a cluster that belongs to `nobody` an account of its own.

Earlier versions let `nobody` own the clusters of root, and so did whatever else runs as `nobody`.
"""

import logging
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from local.embedded_postgres.account import NOBODY, Account, own_account
from local.embedded_postgres.home import Home, require_reachable
from local.embedded_postgres.postmaster import clear_stale_pid

log = logging.getLogger("tandem.embedded_postgres")

LAST = "PG_VERSION"
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def take_from_nobody(home: Home) -> Home:
    """The same home, whose cluster belongs to an account of its own. No server may run on it.

    Raises EmbeddedPostgresError.
    """
    nobody = _nobody()
    if nobody is None or nobody not in _owners(home.cluster):
        return home
    clear_stale_pid(home.cluster)
    taken = replace(home, account=own_account())
    require_reachable(taken)
    log.info("Giving %s an account of its own", home.cluster)
    _give(home.cluster, nobody, taken.account)
    return taken


def _nobody() -> int | None:
    """The uid of NOBODY, if this process is root, which can take something from it."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(NOBODY).pw_uid
    except KeyError:
        return None


def _owners(cluster: Path) -> set[int]:
    """The owners of the folder and of the file that is given last: a killed start is repeated."""
    if not cluster.exists():
        return set()
    return {cluster.lstat().st_uid, (cluster / LAST).lstat().st_uid}


def _give(cluster: Path, old: int, new: Account) -> None:
    """Change the owner of the folder, and of everything in it that is the old account's.

    The folder comes first, so that the old account cannot enter it any more. What that has put
    there is not trusted: no link is followed, and what it linked there but does not own (a file of
    root's) stays as it is.
    """
    assert new.owner
    os.chown(cluster, *new.owner, follow_symlinks=False)
    cluster.chmod(0o700)
    for folder, folders, files, descriptor in os.fwalk(cluster):
        for name in (*folders, *files):
            if (folder, name) != (str(cluster), LAST):
                _give_entry(name, descriptor, old, new.owner)
    with _opened(cluster) as descriptor:
        _give_entry(LAST, descriptor, old, new.owner)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _give_entry(name: str, folder: int, old: int, new: tuple[int, int]) -> None:
    state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        return  # the owner of a link does not matter
    descriptor = os.open(name, OPEN, dir_fd=folder)
    try:
        if os.fstat(descriptor).st_uid == old:
            os.fchown(descriptor, *new)
    finally:
        os.close(descriptor)
