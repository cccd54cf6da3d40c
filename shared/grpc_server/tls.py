"""Encrypted ports and channels, or plain ones if that is asked for.

The services speak TLS 1.2 or 1.3, with HTTP/2 as the protocol above (ALPN), which is what gRPC
does. If a port has a client CA, no client connects without a certificate of it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import grpc

from shared.grpc_server.certificates import Certificates, Files, Pem
from shared.settings import Settings, SettingsError


@dataclass(frozen=True)
class Port:
    """Where a service listens: `variable` names the setting."""

    variable: str
    address: str
    files: Files


def agent_port(settings: Settings) -> Port:
    """The port of the agent service. Raises SettingsError."""
    files = Files(
        "TANDEM_AGENT_TLS_",
        settings.agent_tls_certificate,
        settings.agent_tls_key,
        settings.agent_tls_client_ca,
    )
    if settings.agent_tls_task_services and not files.ca:
        raise SettingsError(
            "TANDEM_AGENT_TLS_TASK_SERVICES needs TANDEM_AGENT_TLS_CLIENT_CA: without it clients "
            "have no names."
        )
    return Port("TANDEM_AGENT_ADDRESS", settings.agent_address, _of_a_port(files))


def task_port(settings: Settings) -> Port:
    """The port of the task service. Raises SettingsError."""
    files = Files(
        "TANDEM_TASK_TLS_",
        settings.task_tls_certificate,
        settings.task_tls_key,
        settings.task_tls_client_ca,
    )
    return Port("TANDEM_TASK_ADDRESS", settings.task_address, _of_a_port(files))


def _of_a_port(files: Files) -> Files:
    if files.ca and not files.certificate:
        raise SettingsError(
            f"{files.prefix}CLIENT_CA needs {files.prefix}CERTIFICATE and {files.prefix}KEY."
        )
    return files


def client_files(settings: Settings) -> Files:
    """What this machine proves and trusts as a client. Raises SettingsError."""
    files = Files(
        "TANDEM_CLIENT_TLS_",
        settings.client_tls_certificate,
        settings.client_tls_key,
        settings.client_tls_ca,
        "CA",
    )
    if files.certificate and not files.ca:
        raise SettingsError(
            "TANDEM_CLIENT_TLS_CERTIFICATE needs TANDEM_CLIENT_TLS_CA, by which servers are known."
        )
    return files


def require_encryption(settings: Settings, port: Port) -> None:
    """Raise SettingsError if other machines reach a port without TLS, unless that is asked for."""
    if crosses_the_network(port.address) and not port.files and settings.plaintext != "network":
        prefix = port.files.prefix
        raise SettingsError(
            f"{port.variable}: other machines reach {port.address}, so tokens and data would cross "
            f"the network unencrypted. Set {prefix}CERTIFICATE and {prefix}KEY or, if something "
            "else encrypts, TANDEM_PLAINTEXT=network."
        )


def require_encrypted_calls(settings: Settings, variable: str, address: str) -> None:
    """Raise SettingsError if a token would be sent to another machine without TLS, likewise."""
    plain = not settings.client_tls_ca and settings.plaintext != "network"
    if plain and crosses_the_network(address):
        raise SettingsError(
            f"{variable}: callers' tokens would be sent to {address} unencrypted. Set "
            "TANDEM_CLIENT_TLS_CA or, if something else encrypts, TANDEM_PLAINTEXT=network."
        )


def crosses_the_network(address: str) -> bool:
    """Whether other machines are at, or reach, `address` ("host:port")."""
    host = address.rpartition(":")[0].strip("[]")
    with suppress(ValueError):
        return not ip_address(host).is_loopback
    return host != "localhost"


class ServerCredentials:
    """The credentials of a port, which are those of the newest certificates at each handshake."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._served = certificates.current
        # gRPC keeps no reference to what it asks for new ones, so this has to live as long.
        self.grpc = grpc.dynamic_ssl_server_credentials(
            _configuration(self._served),
            self._newer,
            require_client_authentication=certificates.authenticates_clients,
        )

    def _newer(self) -> Any:
        """Called by a thread of gRPC before each handshake; None if nothing has changed."""
        current = self._certificates.current
        if current is self._served:
            return None
        self._served = current
        return _configuration(current)


def _configuration(pem: Pem) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(pem.key, pem.certificate)], root_certificates=pem.ca or None
    )


@dataclass(frozen=True)
class Target:
    """A server to call, by TLS if there are certificates; `name` is in its one, if not its host."""

    address: str
    certificates: Certificates | None = None
    name: str | None = None

    def channel(self, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
        """A new channel, with the certificates of now."""
        if self.certificates is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        pem = self.certificates.current
        credentials = grpc.ssl_channel_credentials(pem.ca, pem.key or None, pem.certificate or None)
        name = [("grpc.ssl_target_name_override", self.name)] if self.name else []
        return grpc.aio.secure_channel(self.address, credentials, options=[*options, *name])


def agent_service(settings: Settings) -> Target:
    """The agent service, as the task service calls it. Raises SettingsError."""
    address, files = settings.agent_address, client_files(settings)
    require_encrypted_calls(settings, "TANDEM_AGENT_ADDRESS", address)
    if settings.agent_tls_certificate and not files:
        raise SettingsError(
            "TANDEM_AGENT_TLS_CERTIFICATE is set, so the agent service has to be called by TLS: "
            "set TANDEM_CLIENT_TLS_CA too."
        )
    return Target(address, Certificates(files) if files else None, settings.agent_tls_server_name)
