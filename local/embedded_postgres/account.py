"""The account that PostgreSQL runs as: not root, which PostgreSQL refuses."""

import logging
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from shared.host.embedded_postgres import EmbeddedPostgresError

OWN = "tandem-postgres"
"""The account that root makes: whatever else runs as another account cannot reach the data."""

NOBODY = "nobody"
"""The account of clusters that earlier versions made for root, and of much else on a machine."""

USERADD = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
SYSTEM_PROGRAMS = "/usr/sbin:/sbin:/usr/bin:/bin"

# Nothing of the caller's environment: PGDATA, PGOPTIONS and the like would change what we start.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

# What PostgreSQL's programs write into a line that says why they failed.
CAUSES = ("error:", "ERROR:", "FATAL:", "PANIC:")
CAUSES_NAMED = 3

# A program that changes to another account (uid, gid) and then executes another program.
SETUID_EXEC = """
import os, sys
uid, gid, *program = sys.argv[1:]
os.setgroups([])
os.setgid(int(gid))
os.setuid(int(uid))
try:
    os.execv(program[0], program)
except OSError as error:
    sys.exit(f"{program[0]} cannot be run: {error.strerror}.")
"""


log = logging.getLogger("tandem.embedded_postgres")


class Account:
    """The account of PostgreSQL's processes: the caller's, or `owner` (uid, gid) for root."""

    def __init__(self, owner: tuple[int, int] | None = None) -> None:
        self._owner = owner

    def command(self, *command: str | Path) -> list[str]:
        """The command that runs a program as this account; if root runs it, it changes the account.

        Popen could change it, but forks for that instead of using vfork, and a process that has
        used gRPC must not fork: gRPC's threads interfere with the child.
        """
        program = list(map(str, command))
        if self._owner is None:
            return program
        return [sys.executable, "-I", "-S", "-c", SETUID_EXEC, *map(str, self._owner), *program]

    def options(self, folder: Path) -> dict[str, Any]:
        """Arguments of Popen that start a program in `folder`.

        It gets a session of its own, so that Ctrl-C reaches its supervisor only.
        """
        return {"cwd": folder, "env": ENVIRONMENT, "start_new_session": True}

    def run(self, folder: Path, *command: str | Path, stdin: str = "") -> str:
        """Run a program to its end, and return its output.

        Raises EmbeddedPostgresError with what it says of the cause.
        """
        name = Path(command[0]).name
        try:
            done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603
                self.command(*command),
                input=stdin,
                capture_output=True,
                text=True,
                **self.options(folder),
            )
        except OSError as error:
            raise EmbeddedPostgresError(f"{command[0]} cannot be run: {error.strerror}.") from None
        if done.returncode:
            reason = _cause(done.stderr) or f"exit code {done.returncode}"
            raise EmbeddedPostgresError(f"{name} failed: {reason}")
        return done.stdout

    def can_enter(self, folder: Path) -> bool:
        """Whether the account may enter this folder and every folder above it."""
        try:
            self.run(Path("/"), "/bin/sh", "-c", 'test -x "$0/."', folder)
        except EmbeddedPostgresError:
            return False
        return True

    def own(self, path: Path) -> None:
        """Give the account `path`, which the caller has just created."""
        if self._owner:
            os.chown(path, *self._owner, follow_symlinks=False)

    @property
    def owner(self) -> tuple[int, int] | None:
        """The uid and gid, if it is not the caller's."""
        return self._owner


def _cause(errors: str) -> str:
    """Why a program failed: its lines with an error, which others may follow, else the last one."""
    lines = list(filter(None, map(str.strip, errors.splitlines())))
    causes = [line for line in lines if any(mark in line for mark in CAUSES)]
    return " ".join(causes[:CAUSES_NAMED] or lines[-1:])


def account_for(cluster: Path) -> Account:
    """The caller's account; for root, that of the cluster's owner, or one of its own."""
    if os.geteuid() != 0:
        _require_no_link(cluster)
        return Account()
    try:
        owner = cluster.lstat()
    except FileNotFoundError:
        return own_account()
    _require_no_link(cluster)
    if owner.st_uid == 0:
        raise EmbeddedPostgresError(
            f"{cluster} belongs to root, and PostgreSQL refuses to run as root: "
            f"give it back to the account that made it (chown -R {OWN}: {cluster})."
        )
    return Account((owner.st_uid, owner.st_gid))


def own_account() -> Account:
    """The account OWN, which root adds to the system if it is missing.

    Raises EmbeddedPostgresError if that is not possible.
    """
    found = _lookup(OWN) or _add()
    if found.pw_uid == 0:
        raise EmbeddedPostgresError(f"The account {OWN} is root, which PostgreSQL refuses.")
    return Account((found.pw_uid, found.pw_gid))


def _lookup(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _add() -> pwd.struct_passwd:
    reason = "no program useradd"
    if useradd := shutil.which("useradd", path=SYSTEM_PROGRAMS):
        log.info("Adding the account %s, as which PostgreSQL runs", OWN)
        done = subprocess.run(  # noqa: S603
            [useradd, *USERADD, "--shell", "/bin/false", OWN],
            env=ENVIRONMENT | {"PATH": SYSTEM_PROGRAMS},
            capture_output=True,
            text=True,
        )
        reason = done.stderr.strip() or f"exit code {done.returncode}"
    if found := _lookup(OWN):  # another process may have been quicker
        return found
    raise EmbeddedPostgresError(
        f"PostgreSQL needs an account of its own, and {OWN} could not be added ({reason}): add it, "
        "run as another account than root, or set TANDEM_DATABASE_URL."
    )


def _require_no_link(cluster: Path) -> None:
    if cluster.is_symlink():
        raise EmbeddedPostgresError(f"{cluster} is a symbolic link: put the folder itself there.")
