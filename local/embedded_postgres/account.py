"""The account that PostgreSQL runs as. It refuses root, so root hands it to another account."""

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

from local.embedded_postgres.errors import EmbeddedPostgresError

UNPRIVILEGED = "nobody"

# Nothing of the caller's environment: PGDATA, PGOPTIONS and their like would change what we start.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

# The program that becomes another account (uid, gid) and then another program.
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


class Account:
    """Whom PostgreSQL's processes belong to: the caller, or `owner` (uid, gid) where root calls."""

    def __init__(self, owner: tuple[int, int] | None = None) -> None:
        self._owner = owner

    def command(self, *command: str | Path) -> list[str]:
        """The command that runs a program as this account; started by root, it becomes the account.

        Popen could do that itself, but forks to do it, where it otherwise makes do with vfork; and
        a process that has used gRPC must not be forked: gRPC's threads get in the child's way.
        """
        program = list(map(str, command))
        if self._owner is None:
            return program
        return [sys.executable, "-I", "-S", "-c", SETUID_EXEC, *map(str, self._owner), *program]

    def options(self, folder: Path) -> dict[str, Any]:
        """Arguments of Popen that start a program in `folder`.

        It gets a session of its own: a terminal's Ctrl-C is for the one who supervises it.
        """
        return {"cwd": folder, "env": ENVIRONMENT, "start_new_session": True}

    def run(self, folder: Path, *command: str | Path, stdin: str = "") -> str:
        """Run a program to its end; returns its output, raises with the last line of its errors."""
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
            reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise EmbeddedPostgresError(f"{name} failed: {reason}")
        return done.stdout

    def can_enter(self, folder: Path) -> bool:
        """Whether every folder down to this one lets the account pass."""
        try:
            self.run(Path("/"), "/bin/sh", "-c", 'test -x "$0/."', folder)
        except EmbeddedPostgresError:
            return False
        return True

    def own(self, path: Path) -> None:
        """Make `path`, which the caller has just created, the account's."""
        if self._owner:
            os.chown(path, *self._owner)


def account_for(cluster: Path) -> Account:
    """The caller; for root the owner of the cluster, or an unprivileged account for a new one."""
    if os.geteuid() != 0:
        return Account()
    if not cluster.exists():
        nobody = pwd.getpwnam(UNPRIVILEGED)
        return Account((nobody.pw_uid, nobody.pw_gid))
    owner = cluster.stat()
    if owner.st_uid == 0:
        raise EmbeddedPostgresError(
            f"{cluster} belongs to root, as which PostgreSQL refuses to run: "
            f"give it back to the account that made it (chown -R {UNPRIVILEGED} {cluster})."
        )
    return Account((owner.st_uid, owner.st_gid))
