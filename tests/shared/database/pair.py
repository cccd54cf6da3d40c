"""Two real PostgreSQL servers, of which one is the primary and the other its standby."""

import asyncio
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from local.embedded_postgres import start
from local.embedded_postgres.binaries import find_binaries
from local.embedded_postgres.processes import ends_within

SECONDS = 60


class Pair:
    """Two servers on fixed ports: `first` is the primary until `swap`."""

    def __init__(self, folder: Path) -> None:
        self._server = start(folder / "data")
        self._parts = urlsplit(self._server.url)
        self._binaries = find_binaries(self._server.home)
        self._server.stop()
        self._ports = (_free_port(), _free_port())
        home = self._server.home
        self._folders = (home.cluster, home.folder / "standby")
        self._processes: dict[int, psutil.Process] = {}
        self._start(0)
        self._copy(1, of=0)
        self._start(1)

    @property
    def url(self) -> str:
        """Names both servers, the first one first, and asks for the primary."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"{self._of(hosts)}?target_session_attrs=primary"

    def url_of(self, which: int) -> str:
        return self._of(f"127.0.0.1:{self._ports[which]}")

    def port(self, which: int) -> int:
        return self._ports[which]

    async def swap(self) -> None:
        """Stop the first server, promote the second, and make the first one its standby."""
        await asyncio.to_thread(self._stop, 0)
        await _ask(self.url_of(1), "SELECT pg_promote()")
        await asyncio.to_thread(self._follow, 0, 1)

    def remove(self) -> None:
        for which in tuple(self._processes):
            self._stop(which)
        home = self._server.home
        for folder in self._folders:
            shutil.rmtree(folder)
        if home.folder != home.data_dir:
            shutil.rmtree(home.folder)

    def _of(self, hosts: str) -> str:
        return f"postgresql://{self._parts.username}:{self._parts.password}@{hosts}/tandem"

    def _copy(self, which: int, of: int) -> None:
        home = self._server.home
        folder = self._folders[which]
        folder.mkdir(0o700)
        home.account.own(folder)
        program = self._binaries.folder / "pg_basebackup"
        command = (program, "-D", folder, "-d", self._replicate(of), "-R", "-c", "fast")
        home.account.run(home.folder, *command)

    def _follow(self, which: int, primary: int) -> None:
        signal_file = self._folders[which] / "standby.signal"
        signal_file.touch()
        self._server.home.account.own(signal_file)
        with (self._folders[which] / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{self._replicate(primary)}'\n")
        self._start(which)

    def _replicate(self, primary: int) -> str:
        return self.url_of(primary).removesuffix("/tandem")

    def _start(self, which: int) -> None:
        home = self._server.home
        settings = {
            "port": self._ports[which],
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = home.account.command(self._binaries.postgres, "-D", self._folders[which], *words)
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **home.account.options(home.folder),
        )
        child.returncode = 0
        self._processes[which] = psutil.Process(child.pid)
        asyncio.run(_until_it_answers(self.url_of(which)))

    def _stop(self, which: int) -> None:
        process = self._processes.pop(which)
        process.send_signal(2)  # a fast shutdown waits until the standby has everything
        assert ends_within(process, SECONDS)


async def _ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def _until_it_answers(url: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            await _ask(url, "SELECT 1")
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
