"""The addresses of `tandem up` are free, and are two."""

import socket

import pytest

from local.addresses import require_free
from local.errors import LocalError
from shared.settings import Settings


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


def test_another_port_is_another_address() -> None:
    first, second = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    require_free(Settings(agent_address=first, task_address=second))


def test_any_port_would_not_be_found() -> None:
    settings = Settings(agent_address="127.0.0.1:0", task_address="127.0.0.1:0")
    with pytest.raises(LocalError, match=r"TANDEM_AGENT_ADDRESS is 127.0.0.1:0: .* other than 0"):
        require_free(settings)
