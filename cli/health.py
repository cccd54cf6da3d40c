"""Whether a service serves, asked as any client would."""

from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from cli.console import CommandError

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


def serves(address: str) -> bool:
    """Whether the server at `address` ("host:port") says that it serves."""
    try:
        require_serving(address, "", PROBE_SECONDS)
    except CommandError:
        return False
    return True


def require_serving(address: str, service: str, timeout: float) -> None:
    """Raise CommandError if the server, or one service of it, does not serve.

    `timeout` is in seconds.
    """
    status = _status(address, service, timeout)
    if status != HealthCheckResponse.SERVING:
        name = HealthCheckResponse.ServingStatus.Name(status)
        raise CommandError(f"{service or address} is {name}.")


def _status(address: str, service: str, timeout: float) -> Any:
    with grpc.insecure_channel(address, OPTIONS) as channel:
        check = HealthStub(channel).Check  # type: ignore[attr-defined]
        try:
            return check(HealthCheckRequest(service=service), timeout=timeout).status
        except grpc.RpcError as error:
            code = error.code()
    if code == grpc.StatusCode.NOT_FOUND:
        raise CommandError(f"{address} has no service {service}.")
    raise CommandError(f"{address} {REASONS.get(code, f'answers {code.name}')}.")
