"""Runs of `tandem up` as a process, and everything that it started."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from local.embedded_postgres.home import existing_home
from local.embedded_postgres.processes import find_postmaster, has_ended, processes_in

TANDEM = Path(sys.executable).with_name("tandem")
LAST_LINE = "Ctrl-C stops everything."
SECONDS = 300
PORTS = iter(range(first := 10_000 + os.getpid() % 50 * 100, first + 100))


def free_port() -> int:
    """A port that stays free until `tandem up` listens on it, seconds later.

    It is below those that clients and embedded servers get, and every process that runs tests has
    a hundred of its own.
    """
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is left")


class Surroundings:
    """A data folder and two addresses, which several runs have in common."""

    def __init__(self, data_dir: Path, logs: Path) -> None:
        self.data_dir = data_dir
        self.logs = logs
        self.agent_address = f"127.0.0.1:{free_port()}"
        self.task_address = f"127.0.0.1:{free_port()}"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: v for name, v in os.environ.items() if not name.startswith("TANDEM_")}
        return {
            **inherited,
            "TANDEM_DATA_DIR": str(self.data_dir),
            "TANDEM_AGENT_ADDRESS": self.agent_address,
            "TANDEM_TASK_ADDRESS": self.task_address,
        }

    def up(self, **environment: str) -> "Run":
        """Start `tandem up`; it ends with the block."""
        return Run(self, environment)

    def refused(self, **environment: str) -> str:
        """What `tandem up` says when it does not start."""
        with self.up(**environment) as run:
            assert run.process.wait(SECONDS) == 1
            assert run.read_to_end() == ""
        return run.said().splitlines()[-1]


class Run:
    """One `tandem up`."""

    def __init__(self, surroundings: Surroundings, environment: dict[str, str]) -> None:
        self.surroundings = surroundings
        self._log = surroundings.logs / f"{secrets.token_hex(4)}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [TANDEM, "up"],
                env={**surroundings.environment, **environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.banner = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        started = [] if self.process.poll() is not None else self.everything()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        for process in started:
            if not has_ended(process):
                process.kill()

    def ready(self) -> Self:
        """Wait until everything serves."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.banner += line
            if line.strip() == LAST_LINE:
                return self
        raise AssertionError(self.said())

    def read_to_end(self) -> str:
        assert self.process.stdout
        return self.process.stdout.read()

    def said(self) -> str:
        """What it and its services wrote to standard error."""
        return self._log.read_text()

    def paste(self) -> str:
        """What the call in the banner answers, pasted as it is: a new project."""
        found = re.search(r"^\S*buf curl .*?CreateProject$", self.banner, re.M | re.S)
        assert found, self.banner
        pasted = subprocess.run(["sh", "-c", found[0]], capture_output=True, text=True)
        assert pasted.returncode == 0, pasted.stderr
        return pasted.stdout

    def service(self, module: str) -> psutil.Process:
        """The process of a service."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if child.cmdline()[-1:] == [module])

    def postmaster(self) -> psutil.Process:
        home = existing_home(self.surroundings.data_dir)
        assert home
        found = find_postmaster(home.cluster)
        assert found
        return found

    def everything(self) -> list[psutil.Process]:
        """Every process that it started, or adopted, and that runs."""
        home = existing_home(self.surroundings.data_dir)
        of_postgres = list(processes_in(home.cluster)) if home else []
        return [*psutil.Process(self.process.pid).children(recursive=True), *of_postgres]

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ask it to stop: it obeys, says that all went well, and nothing is left of it."""
        started = self.everything()
        self.process.send_signal(number)
        self.read_to_end()
        assert self.process.wait(SECONDS) == 0, self.said()
        assert [process for process in started if not has_ended(process)] == []
