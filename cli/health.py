"""Whether a service serves, asked as any client would."""

from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from cli.console import CommandError

if TYPE_CHECKING:
    from tandem_client.tls import Tls

PROBE_SECONDS = 1.0
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection that failed before delays the next one
    ("grpc.enable_http_proxy", 0),  # the server is asked, not a proxy on the way to others
)
REASONS = {
    grpc.StatusCode.UNAVAILABLE: "cannot be reached",
    grpc.StatusCode.DEADLINE_EXCEEDED: "does not answer in time",
    grpc.StatusCode.UNIMPLEMENTED: "has no health service",
}

# What gRPC says of a handshake that fails, and what that means.
HANDSHAKES = {
    "Hostname Verification": "has a certificate of another name",
    "CERTIFICATE_VERIFY_FAILED": "has a certificate that is not trusted, or has expired",
    "BAD_SIGNATURE": "has a certificate that is not trusted, or has expired",
    "WRONG_VERSION_NUMBER": "does not speak TLS",
}


def serves(address: str, tls: "Tls | None" = None) -> bool:
    """Whether the server at `address` ("host:port") says that it serves."""
    try:
        require_serving(address, "", PROBE_SECONDS, tls)
    except CommandError:
        return False
    return True


def require_serving(address: str, service: str, timeout: float, tls: "Tls | None" = None) -> None:
    """Raise CommandError if the server, or one service of it, does not serve.

    `timeout` is in seconds.
    """
    status = _status(address, service, timeout, tls)
    if status != HealthCheckResponse.SERVING:
        name = HealthCheckResponse.ServingStatus.Name(status)
        raise CommandError(f"{service or address} is {name}.")


def _status(address: str, service: str, timeout: float, tls: "Tls | None") -> Any:
    with _channel(address, tls) as channel:
        check = HealthStub(channel).Check  # type: ignore[attr-defined]
        try:
            return check(HealthCheckRequest(service=service), timeout=timeout).status
        except grpc.RpcError as error:
            code, details = error.code(), str(error.details())
    if code == grpc.StatusCode.NOT_FOUND:
        raise CommandError(f"{address} has no service {service}.")
    said = next((words for mark, words in HANDSHAKES.items() if mark in details), "")
    raise CommandError(f"{address} {said or REASONS.get(code, f'answers {code.name}')}.")


def _channel(address: str, tls: "Tls | None") -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, OPTIONS)
    try:
        return grpc.secure_channel(address, tls.credentials(), [*OPTIONS, *tls.options])
    except ValueError as error:
        raise CommandError(str(error)) from None
