"""Tokens cross the network unencrypted only if a setting says so, by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.grpc_server import tls
from shared.settings import Settings, SettingsError
from tests.processes import service
from tests.world import SECRET

HERE = ("127.0.0.1:50051", "127.8.0.1:50051", "[::1]:50051", "localhost:50051")
NETWORK = ("0.0.0.0:50051", "[::]:50051", "192.0.2.1:50051", "example.org:50051")
CERTIFIED: dict[str, Any] = {"agent_tls_certificate": Path("a"), "agent_tls_key": Path("b")}
TRUSTING: dict[str, Any] = {"client_tls_ca": Path("c")}
SECONDS = 300


def listen(settings: Settings) -> None:
    tls.require_encryption(settings, tls.agent_port(settings))


def call(settings: Settings) -> None:
    tls.require_encrypted_calls(settings, "TANDEM_AGENT_ADDRESS", settings.agent_address)


@pytest.mark.parametrize("address", HERE)
@pytest.mark.parametrize("start", [listen, call])
def test_on_this_machine_nothing_has_to_be_encrypted(address: str, start: Any) -> None:
    start(Settings(agent_address=address))


@pytest.mark.parametrize("address", NETWORK)
def test_a_port_in_the_network_needs_tls_or_a_setting(address: str) -> None:
    settings = Settings(agent_address=address)
    with pytest.raises(SettingsError) as raised:
        listen(settings)
    for way in ("TANDEM_AGENT_TLS_CERTIFICATE", "TANDEM_AGENT_TLS_KEY", "TANDEM_PLAINTEXT=network"):
        assert way in str(raised.value)
    assert str(raised.value).startswith(f"TANDEM_AGENT_ADDRESS: other machines reach {address}")
    listen(replace(settings, **CERTIFIED))
    listen(replace(settings, plaintext="network"))


@pytest.mark.parametrize("address", NETWORK)
def test_so_does_a_call_that_carries_a_token(address: str) -> None:
    settings = Settings(agent_address=address)
    with pytest.raises(SettingsError) as raised:
        call(settings)
    for way in ("TANDEM_CLIENT_TLS_CA", "TANDEM_PLAINTEXT=network"):
        assert way in str(raised.value)
    # That the agent service has a certificate does not encrypt the call.
    with pytest.raises(SettingsError):
        call(replace(settings, **CERTIFIED))
    call(replace(settings, **TRUSTING))
    call(replace(settings, plaintext="network"))


@pytest.mark.parametrize(
    ("module", "which"), [("agent_service", "AGENT"), ("task_service", "TASK")]
)
def test_a_service_does_not_start_so(module: str, which: str) -> None:
    """Before it looks for a database: here there is none."""
    variable = f"TANDEM_{which}_ADDRESS"
    said = service(module, **{variable: "0.0.0.0:0"}).communicate(timeout=SECONDS)[1]
    assert said.startswith(f"{variable}: other machines reach 0.0.0.0:0")
    assert said.count("\n") == 1
    assert SECRET.get_secret_value() not in said


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"agent_tls_key": Path("k")}, "TANDEM_AGENT_TLS_CERTIFICATE and TANDEM_AGENT_TLS_KEY"),
        ({"task_tls_certificate": Path("c")}, "TANDEM_TASK_TLS_KEY belong together"),
        ({"task_tls_client_ca": Path("c")}, "TANDEM_TASK_TLS_CLIENT_CA needs"),
        ({"agent_tls_client_ca": Path("c")}, "TANDEM_AGENT_TLS_CLIENT_CA needs"),
        ({"client_tls_key": Path("c")}, "TANDEM_CLIENT_TLS_KEY belong together"),
        (
            {"client_tls_key": Path("k"), "client_tls_certificate": Path("c")},
            "TANDEM_CLIENT_TLS_CERTIFICATE needs TANDEM_CLIENT_TLS_CA",
        ),
        (CERTIFIED, "TANDEM_AGENT_TLS_CERTIFICATE is set, so the agent service"),
        (
            {**CERTIFIED, **TRUSTING, "agent_tls_task_services": ("tasks",)},
            "TANDEM_AGENT_TLS_TASK_SERVICES needs TANDEM_AGENT_TLS_CLIENT_CA",
        ),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(
    fields: dict[str, Any], sentence: str
) -> None:
    settings = Settings(**fields)
    with pytest.raises(SettingsError, match=sentence):
        _ = tls.agent_port(settings), tls.task_port(settings), tls.agent_service(settings)
