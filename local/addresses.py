"""The addresses that the services listen on."""

import os
import socket
import time
from pathlib import Path

import psutil

from local.errors import LocalError
from shared.host.supervision import SUPERVISOR_FD
from shared.settings import Settings

MODULES = ("agent_service", "task_service")
WAIT_SECONDS = 15.0
SETTLE_SECONDS = 1.0
POLL_SECONDS = 0.1
WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


def reachable(address: str) -> str:
    """The address at which a client on this machine reaches a server that listens on `address`."""
    host, _, port = address.rpartition(":")
    return f"{WILDCARDS.get(host, host)}:{port}"


def require_free(settings: Settings) -> None:
    """Check that both services can listen on their addresses.

    The services of a killed `tandem up` on the same data are about to end: they are waited for.
    Raises LocalError if anything else occupies an address, if the two addresses are one, or if a
    port is left open.
    """
    variables = {
        "TANDEM_AGENT_ADDRESS": settings.agent_address,
        "TANDEM_TASK_ADDRESS": settings.task_address,
    }
    for variable, address in variables.items():
        if int(address.rpartition(":")[2]) == 0:
            raise LocalError(f"{variable} is {address}: `tandem up` needs a port other than 0.")
    for variable, address in variables.items():
        if problem := _lasting_problem(address, settings.data_dir.resolve()):
            raise LocalError(
                f"Cannot listen on {address}: {problem}. Set {variable} to another host:port."
            )
    with _listen(settings.agent_address):
        if _problem(settings.task_address):
            raise LocalError(
                f"{' and '.join(variables)} are the same address ({settings.task_address}): "
                "set one of them to another host:port."
            )


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family)


def _lasting_problem(address: str, data_dir: Path) -> str | None:
    """What is wrong with the address after the services that are about to end have ended.

    One that is no longer seen may still have its port, or have ended after the look at the port: a
    port is only occupied if it stays so.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    since = time.monotonic()
    while problem := _problem(address):
        if _leftovers(data_dir):
            since = time.monotonic()
        if time.monotonic() > min(deadline, since + SETTLE_SECONDS):
            return problem
        time.sleep(POLL_SECONDS)
    return None


def _problem(address: str) -> str | None:
    try:
        _listen(address).close()
    except socket.gaierror:
        return "there is no such host"
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return None


def _leftovers(data_dir: Path) -> list[psutil.Process]:
    """Services that a `tandem up` started on this data and that still run."""
    return [process for process in psutil.process_iter() if _is_leftover(process, data_dir)]


def _is_leftover(process: psutil.Process, data_dir: Path) -> bool:
    try:
        if process.cmdline()[-1:] not in [[module] for module in MODULES]:
            return False
        environment = process.environ()
    except psutil.Error:
        return False
    return SUPERVISOR_FD in environment and environment.get("TANDEM_DATA_DIR") == str(data_dir)
