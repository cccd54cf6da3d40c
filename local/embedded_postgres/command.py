"""The embedded PostgreSQL for the duration of one command."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local.embedded_postgres.server import start
from shared.host import data_lock
from shared.host.embedded_postgres import OWNER, EmbeddedPostgresError, Login, running_url

COMMAND = "a tandem command"
"""The purpose under which a command locks the data while it runs a server of its own."""

WAIT_SECONDS = 20.0
POLL_SECONDS = 0.05


@contextmanager
def server_for_command(data_dir: Path, login: Login) -> Iterator[str]:
    """The role's URL of the server on this data. If none runs, one is started, and then stopped.

    The server of another command is not shared, because it ends with that command: this one waits
    until it has ended, and waits for a server that is being started. Raises EmbeddedPostgresError.
    """
    with ExitStack() as stack:
        yield _url(stack, data_dir, login)


def _url(stack: ExitStack, data_dir: Path, login: Login) -> str:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            stack.enter_context(data_lock.lock(data_dir, COMMAND))
            return _own_url(stack, data_dir, login)
        except data_lock.DataInUseError as use:
            url = running_url(data_dir, login) if use.purpose != COMMAND else None
            if url:
                return url
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(str(use)) from None
        time.sleep(POLL_SECONDS)


def _own_url(stack: ExitStack, data_dir: Path, login: Login) -> str:
    server = start(data_dir)
    if not server.adopted:
        stack.callback(server.stop)
    return server.url if login is OWNER else server.service_url
