"""The addresses of `tandem up` are free, and are two."""

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local import addresses
from local.addresses import require_free
from local.errors import LocalError
from shared.settings import Settings

LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print(flush=True)
    sys.stdin.read()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("other", ["127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104
def test_two_services_cannot_have_one_address(other: str) -> None:
    port = free_port()
    settings = Settings(agent_address=f"127.0.0.1:{port}", task_address=f"{other}:{port}")
    sentence = "TANDEM_AGENT_ADDRESS and TANDEM_TASK_ADDRESS are the same address"
    with pytest.raises(LocalError, match=sentence):
        require_free(settings)


def test_a_service_that_ends_between_two_looks_is_not_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as service:
        assert service.stdout
        service.stdout.readline()

        def seen_after_its_end(data_dir: Path) -> list[psutil.Process]:
            service.communicate()
            return leftovers(data_dir)

        leftovers = addresses._leftovers
        monkeypatch.setattr(addresses, "_leftovers", seen_after_its_end)
        other = f"127.0.0.1:{free_port()}"
        require_free(Settings(agent_address=f"127.0.0.1:{port}", task_address=other))


def test_another_port_is_another_address() -> None:
    first, second = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    require_free(Settings(agent_address=first, task_address=second))


def test_any_port_would_not_be_found() -> None:
    settings = Settings(agent_address="127.0.0.1:0", task_address="127.0.0.1:0")
    with pytest.raises(LocalError, match=r"TANDEM_AGENT_ADDRESS is 127.0.0.1:0: .* other than 0"):
        require_free(settings)
