"""`tandem health`."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from tests.authority import Authority, written
from tests.cli.conftest import Tandem

LOADED = "import sys, cli.main, cli.commands.health, cli.health; print(*sys.modules)"


@pytest.fixture
def tandem() -> Tandem:
    """Without a configuration."""
    return Tandem({})


@contextmanager
def serving(
    status: str, service: str = "", credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """The address of a server with a service of this status."""
    servicer = health.HealthServicer()
    servicer.set(service, HealthCheckResponse.ServingStatus.Value(status))
    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        here = "127.0.0.1:0"
        port = (
            server.add_secure_port(here, credentials)
            if credentials
            else server.add_insecure_port(here)
        )
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_a_server_that_serves_is_one_word(tandem: Tandem) -> None:
    with serving("SERVING") as address:
        assert tandem.says("health", address) == "SERVING\n"


def test_a_server_that_stops_is_a_sentence(tandem: Tandem) -> None:
    with serving("NOT_SERVING") as address:
        assert tandem.refuses("health", address) == f"{address} is NOT_SERVING.\n"


def test_one_service_can_be_asked_for(tandem: Tandem) -> None:
    with serving("NOT_SERVING", "x.Y") as address:
        assert tandem.says("health", address) == "SERVING\n"
        assert tandem.refuses("health", address, "--service", "x.Y") == "x.Y is NOT_SERVING.\n"
        none = tandem.refuses("health", address, "--service", "x.Z")
        assert none == f"{address} has no service x.Z.\n"


def test_no_server_is_a_sentence(tandem: Tandem) -> None:
    assert tandem.refuses("health", "127.0.0.1:1") == "127.0.0.1:1 cannot be reached.\n"


def test_a_server_that_does_not_answer_is_waited_for_as_long_as_asked(tandem: Tandem) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        said = tandem.refuses("health", address, "--timeout", "0.2")
    assert said == f"{address} does not answer in time.\n"


def test_another_grpc_server_is_a_sentence(tandem: Tandem) -> None:
    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        assert tandem.refuses("health", address) == f"{address} has no health service.\n"
        server.stop(None).wait()


def test_a_proxy_is_not_asked(tandem: Tandem) -> None:
    with serving("SERVING") as address:
        said = tandem.says("health", address, http_proxy="http://127.0.0.1:1", no_proxy="")
    assert said == "SERVING\n"


def test_a_server_is_asked_by_tls(tandem: Tandem, tmp_path: Path) -> None:
    authority, other = Authority(), Authority("other")
    own = authority.signs(x509.DNSName("tasks.example.org"))
    ca = str(written(tmp_path / "ca.pem", authority.pem))
    wrong = str(written(tmp_path / "other.pem", other.pem))
    name = ("--tls-server-name", "tasks.example.org")
    credentials = grpc.ssl_server_credentials([(own.key_pem, own.pem)])
    with serving("SERVING", credentials=credentials) as address:
        assert tandem.says("health", address, "--tls-ca", ca, *name) == "SERVING\n"
        assert tandem.says("health", address, *name, TANDEM_CLIENT_TLS_CA=ca) == "SERVING\n"
        said = tandem.refuses("health", address, "--tls-ca", ca)
        assert said == f"{address} has a certificate of another name.\n"
        said = tandem.refuses("health", address, "--tls-ca", wrong, *name)
        assert said == f"{address} has a certificate that is not trusted, or has expired.\n"
        assert tandem.refuses("health", address) == f"{address} cannot be reached.\n"
        assert tandem("health", address, "--tls-key", ca).exit_code == 2
        half = tandem.refuses("health", address, "--tls-ca", ca, "--tls-key", ca)
        assert half == "A certificate and its key belong together.\n"
    with serving("SERVING") as address:
        said = tandem.refuses("health", address, "--tls-ca", ca)
        assert said == f"{address} does not speak TLS.\n"


@pytest.mark.parametrize(
    "arguments", [("nowhere",), ("127.0.0.1:65536",), ("127.0.0.1:1", "--timeout", "0")]
)
def test_what_cannot_be_asked_is_a_mistake_in_usage(
    tandem: Tandem, arguments: tuple[str, ...]
) -> None:
    assert tandem("health", *arguments).exit_code == 2


def test_it_loads_nothing_of_the_database() -> None:
    """A health check runs every few seconds, so its start must be quick."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert "grpc" in loaded
    assert loaded & {"alembic", "asyncpg", "cryptography", "psutil", "sqlalchemy"} == set()
