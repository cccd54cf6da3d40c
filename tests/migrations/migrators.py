"""Migrators as processes of their own, forked from one that has everything imported."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

from sqlalchemy import Connection, Engine, event

from migrations.run import upgrade
from migrations.transaction import MigrationError
from tests.forking import CONTEXT

# The advisory lock that a migrator waits for when it stops.
LOCK = 4711
# The "statement" that is the COMMIT; 1 is the first.
COMMIT = 0

_STOP = f"SELECT pg_advisory_xact_lock({LOCK})"


class Migrator:
    """An upgrade to the newest revision, which stops before a statement if one is given."""

    def __init__(self, url: str, stop_at: int | None) -> None:
        self._messages, message = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_migrate, args=(url, stop_at, message))
        self._process.start()
        message.close()

    def has_ended(self) -> bool:
        return not self._process.is_alive()

    def wait(self) -> str:
        """Wait for its end and return the message of its failure; "" if it succeeded."""
        self._process.join(60)
        assert self._process.exitcode == 0
        message: str = self._messages.recv()
        return message

    def kill(self) -> None:
        """End it by SIGKILL, if it runs."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        self.kill()
        self._process.close()
        self._messages.close()


@contextmanager
def migrator(url: str, stop_at: int | None = None) -> Iterator[Migrator]:
    """A migrator that runs during the block, at most."""
    started = Migrator(url, stop_at)
    try:
        yield started
    finally:
        started.close()


def _migrate(url: str, stop_at: int | None, message: "Pipe[str, str]") -> None:
    os.chdir("/")  # a migration does not depend on the current folder
    if stop_at == COMMIT:
        event.listen(Engine, "commit", lambda connection: connection.exec_driver_sql(_STOP))
    elif stop_at is not None:
        event.listen(Engine, "before_cursor_execute", _stopping_before(stop_at))
    try:
        upgrade(url)
        message.send("")
    except MigrationError as error:
        message.send(str(error))


def _stopping_before(number: int) -> Callable[..., None]:
    seen = 0

    def stop(_: Connection, cursor: Any, *__: object) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            cursor.execute(_STOP)

    return stop
