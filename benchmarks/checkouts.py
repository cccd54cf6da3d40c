"""Checkouts of Tandem whose services run side by side on one PostgreSQL, to be compared."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from uuid_utils.compat import uuid7

from shared.auth.signing import sign_user_token
from shared.settings import Settings
from tandem.agent.v1.project_service_pb2_grpc import ProjectServiceStub
from tandem.task.v1.task_service_pb2_grpc import TaskServiceStub

SECRET = "a secret of the benchmarks, long enough for HS256"  # noqa: S105
PORTS = 21980  # no client is given one of these
LIFETIME = timedelta(hours=6)
USER = "INSERT INTO users (id, username, email) VALUES ($1, 'bench', 'bench@example.com')"


@dataclass(frozen=True)
class Checkout:
    """A folder with a checkout and its .venv, the name of its database, and where it listens."""

    root: Path
    name: str
    url: str
    agent_address: str
    task_address: str

    @property
    def environment(self) -> dict[str, str]:
        """What its processes are told."""
        return {
            **os.environ,
            "TANDEM_DATABASE_URL": self.url,
            "TANDEM_JWT_SECRET": SECRET,
            "TANDEM_AGENT_ADDRESS": self.agent_address,
            "TANDEM_TASK_ADDRESS": self.task_address,
            "TANDEM_SHUTDOWN_DELAY": "0",
        }


def made(server_url: str, roots: dict[str, Path]) -> list[Checkout]:
    """A migrated database for each checkout, by its name."""
    found = []
    for number, (name, root) in enumerate(roots.items()):
        asyncio.run(_execute(server_url, f"CREATE DATABASE {name}"))
        url = f"{server_url.rsplit('/', 1)[0]}/{name}"
        places = (f"127.0.0.1:{PORTS + 2 * number + each}" for each in range(2))
        checkout = Checkout(root, name, url, *places)
        upgrade = [root / ".venv/bin/tandem", "db", "upgrade"]
        subprocess.run(upgrade, env=checkout.environment, cwd="/", check=True, capture_output=True)
        found.append(checkout)
    return found


async def _execute(url: str, statement: str, *arguments: Any) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement, *arguments)
    await connection.close()


@contextmanager
def serving(checkouts: list[Checkout]) -> Iterator[None]:
    """Both services of each, all on the first core."""
    first = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        for checkout in checkouts:
            for module in ("agent_service", "task_service"):
                stack.enter_context(service(checkout, module, first))
        yield


@contextmanager
def service(checkout: Checkout, module: str, core: int) -> Iterator[int]:
    """A service of a checkout on this core: its process id."""
    process = subprocess.Popen(
        [checkout.root / ".venv/bin/python", "-P", "-m", module],
        env=checkout.environment,
        cwd="/",
        stderr=subprocess.DEVNULL,
    )
    os.sched_setaffinity(process.pid, [core])
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


class Caller:
    """A user of a checkout's services, who calls over one connection to each."""

    def __init__(self, checkout: Checkout) -> None:
        user_id = uuid7()
        token = sign_user_token(Settings(), SECRET, user_id, LIFETIME)
        self.user_id = user_id
        self._checkout = checkout
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def connect(self) -> None:
        """Create the user, and connect."""
        await _execute(self._checkout.url, USER, self.user_id)
        channel = grpc.aio.insecure_channel
        self._stubs = [
            ProjectServiceStub(channel(self._checkout.agent_address)),
            TaskServiceStub(channel(self._checkout.task_address)),
        ]

    async def __call__(self, method: str, request: Any) -> Any:
        """Call a method of either service, once it is there."""
        call = next(getattr(stub, method) for stub in self._stubs if hasattr(stub, method))
        return await call(request, metadata=self._metadata, timeout=60, wait_for_ready=True)
