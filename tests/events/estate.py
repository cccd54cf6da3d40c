"""Two task services, an agent service and their PostgreSQL, all of which a test may kill.

What is killed is started again, in the same place. Clients know both task services by one address,
so that they go from one to the other.
"""

import asyncio
import random
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from uuid_utils.compat import uuid7

from local.embedded_postgres import Server, start
from shared.auth.signing import sign_user_token
from shared.errors import Refusal
from shared.settings import Settings
from tandem_client import Credentials, Retries, Tandem, Token, connect
from tests.e2e.supervised import free_port
from tests.processes import Process, port, service
from tests.world import SECRET

CHANCE = random.Random()  # noqa: S311
# What a database raises that recovers.
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, Refusal)
# Calls outlast whatever is killed: an answer says what became of a change.
PATIENT = Retries(attempts=1000, longest_backoff=0.5)
CALL_SECONDS = 120.0
BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name IN ('agents', 'tasks')
ORDER BY random() LIMIT 1
"""
USER = "INSERT INTO users (id, username, email) VALUES ($1, $2, $3)"
# What retention removes, the validator still has to know.
ARCHIVE = """
CREATE TABLE archive (LIKE events);
CREATE FUNCTION to_archive() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO archive SELECT OLD.*; RETURN OLD; END $$;
CREATE TRIGGER to_archive BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION to_archive();
CREATE VIEW whole_log AS SELECT * FROM archive UNION ALL SELECT * FROM events;
"""


class Estate:
    """The processes, by name: "tasks", "other_tasks", "agents"."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.ports = {name: free_port() for name in ("tasks", "other_tasks", "agents")}
        self.processes: dict[str, Process] = {}
        self.postgres: Server
        self.kills: dict[str, int] = {}
        self._readers: list[threading.Thread] = []

    @classmethod
    @asynccontextmanager
    async def on(cls, data_dir: Path) -> AsyncIterator["Estate"]:
        """Everything runs on the migrated data, until the end of the block."""
        estate = cls(data_dir)
        estate.postgres = await asyncio.to_thread(start, data_dir)
        try:
            async with estate.database() as connection:
                await connection.execute(ARCHIVE)
            await asyncio.gather(*map(estate.start, estate.ports))
            yield estate
        finally:
            for process in estate.processes.values():
                process.kill()
                process.wait()
            for reader in estate._readers:
                reader.join()
            await asyncio.to_thread(estate.postgres.stop, at_once=True)

    async def start(self, name: str) -> None:
        """Start a service, and wait until it listens."""
        is_agents = name == "agents"
        variable = "TANDEM_AGENT_ADDRESS" if is_agents else "TANDEM_TASK_ADDRESS"
        addresses = {"TANDEM_AGENT_ADDRESS": self.address("agents"), variable: self.address(name)}
        process = await asyncio.to_thread(
            service,
            "agent_service" if is_agents else "task_service",
            TANDEM_DATA_DIR=str(self.data_dir),
            **addresses,
        )
        self.processes[name] = process
        await asyncio.to_thread(port, process)
        # What nobody reads would stop it in the end.
        self._readers.append(threading.Thread(target=process.communicate, daemon=True))
        self._readers[-1].start()

    async def kill(self, how: str) -> None:
        """Kill one of what `how` says, and have it in its place again; a backend stays away."""
        await getattr(self, how)()
        self.kills[how] = self.kills.get(how, 0) + 1

    async def service(self) -> None:
        """SIGKILL of a service."""
        await self._again(CHANCE.choice(list(self.ports)), signal.SIGKILL)

    async def drain(self) -> None:
        """SIGTERM of a task service, which says good-bye to its watchers."""
        await self._again(CHANCE.choice(("tasks", "other_tasks")), signal.SIGTERM)

    async def terminate(self) -> None:
        """The end of one connection to the database."""
        if pid := await self.ask(BACKENDS):
            await self.ask("SELECT pg_terminate_backend($1)", pid)

    async def backend(self) -> None:
        """SIGKILL of the process of a connection, which makes PostgreSQL end all others, too."""
        if pid := await self.ask(BACKENDS):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()

    async def postmaster(self) -> None:
        """SIGKILL of PostgreSQL."""
        self.postgres.process.kill()
        await asyncio.to_thread(self.postgres.process.wait)
        self.postgres = await asyncio.to_thread(start, self.data_dir)

    def address(self, name: str) -> str:
        """Where a service listens."""
        return f"127.0.0.1:{self.ports[name]}"

    def tandem(self, credentials: Credentials, first: str = "tasks") -> Tandem:
        """A client that goes to the task service `first`, and to the other one if it has to."""
        other = {"tasks": "other_tasks", "other_tasks": "tasks"}[first]
        return connect(
            agent_address=self.address("agents"),
            task_address=f"ipv4:{self.address(first)},{self.address(other)}",
            credentials=credentials,
            timeout=CALL_SECONDS,
            retries=PATIENT,
        )

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A connection of the owner of the tables, past the services."""
        connection = await asyncpg.connect(self.postgres.url)
        try:
            yield connection
        finally:
            connection.terminate()

    async def user(self) -> Token:
        """The token of a new user."""
        user_id = uuid7()
        async with self.database() as connection:
            name = f"user-{user_id}"
            await connection.execute(USER, user_id, name, f"{name}@example.com")
        settings = Settings(jwt_secret=SECRET)
        lifetime = timedelta(hours=12)
        return Token(sign_user_token(settings, SECRET.get_secret_value(), user_id, lifetime))

    async def _again(self, name: str, number: signal.Signals) -> None:
        process = self.processes[name]
        process.send_signal(number)
        await asyncio.to_thread(process.wait)
        await self.start(name)

    async def ask(self, statement: str, *arguments: Any) -> Any:
        """What the database answers once it does."""
        while True:
            try:
                async with self.database() as connection:
                    return await connection.fetchval(statement, *arguments)
            except AWAY:
                await asyncio.sleep(0.05)
