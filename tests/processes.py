"""A service as a process of its own, on any free port."""

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from typing import Any, Protocol, TextIO

import orjson

from shared.service import EXCESS
from tests.forking import CONTEXT
from tests.measured import VARIABLE
from tests.world import SECRET


class Process(Protocol):
    """What tests use of a process: that of subprocess.Popen with standard error as text."""

    stderr: Any

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> Any: ...
    def send_signal(self, sig: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...
    def communicate(self, *, timeout: float | None = None) -> tuple[Any, str]: ...


def service(module: str, **environment: str) -> Process:
    """The process of a service that listens on any free port, if it gets that far.

    It stops without a delay, for which tests need not wait. It is a Python of its own if that is
    to be measured, and else has the services imported already; what `tandem up` starts has not.
    """
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("TANDEM_")}
    addresses = {f"TANDEM_{name}_ADDRESS": "127.0.0.1:0" for name in ("AGENT", "TASK")}
    environment = {
        **inherited,
        **addresses,
        "TANDEM_SHUTDOWN_DELAY": "0",
        "TANDEM_JWT_SECRET": SECRET.get_secret_value(),
        **environment,
    }
    if VARIABLE not in os.environ:
        return Forked(module, environment)
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


class Forked:
    """A process that runs a module as `python -m` does."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        reading, writing = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_run, args=(module, dict(environment), writing))
        self._process.start()
        self._waiting = threading.Lock()  # its end can be read once
        self.stderr: TextIO = os.fdopen(os.dup(reading.fileno()), encoding="utf-8")
        reading.close()
        writing.close()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        with self._waiting:
            return self._process.exitcode

    def send_signal(self, sig: int, /) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, when it has ended."""
        with self._waiting:
            self._process.join(timeout)
            status = self._process.exitcode
        assert status is not None
        return status

    def communicate(self, *, timeout: float | None = None) -> tuple[None, str]:
        """Wait for its end, and return what it has written to standard error."""
        with self.stderr:
            said = self.stderr.read()
        self.wait(timeout)
        return None, said


def _run(module: str, environment: Mapping[str, str], stderr: "Pipe[bytes, bytes]") -> None:
    os.dup2(stderr.fileno(), sys.stderr.fileno())
    stderr.close()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.environ.clear()
    os.environ.update(environment)
    del sys.modules[f"{module}.__main__"]  # it is run, not imported
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def port(process: Process) -> int:
    """Where it listens, as soon as it does. It may say before that its role can do too much."""
    assert process.stderr
    said = orjson.loads(process.stderr.readline())
    if said["event"] == EXCESS:
        said = orjson.loads(process.stderr.readline())
    assert said["event"] == "listening", said
    found: int = said["port"]
    return found
