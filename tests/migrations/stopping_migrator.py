"""A program that migrates a database, but waits in front of the statement that it is told to.

It reads the numbers of statements, one a line (1 is the first, 0 the COMMIT); for each it forks a
migrator that waits there for an advisory lock, prints that one's process id, and at its end how it
ended. One program with everything imported saves a hundred starts of Python.
"""

import os
import sys
from typing import Any

from sqlalchemy import Connection, Engine, event

from migrations.run import MigrationError, upgrade

LOCK = 4711
WAIT = f"SELECT pg_advisory_xact_lock({LOCK})"
COMMIT = 0


def main(url: str) -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        if not (process := os.fork()):
            _migrate(url, int(line))
        print(process, flush=True)  # noqa: T201
        _, status = os.waitpid(process, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)  # noqa: T201


def _migrate(url: str, number: int) -> None:
    """Migrate in this process, and end it."""
    seen = 0

    def wait(_: Connection, cursor: Any, *__: object) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            cursor.execute(WAIT)

    if number == COMMIT:
        event.listen(Engine, "commit", lambda connection: connection.exec_driver_sql(WAIT))
    else:
        event.listen(Engine, "before_cursor_execute", wait)
    try:
        upgrade(url)
    except MigrationError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
