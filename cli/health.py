"""Whether a service serves, asked as any client would."""

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

PROBE_SECONDS = 1.0


def serves(address: str) -> bool:
    """Whether the server at `address` ("host:port") says that it serves."""
    # A channel of its own: one that failed once would wait before it tries again.
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            reply = HealthStub(channel).Check(  # type: ignore[attr-defined]
                HealthCheckRequest(), timeout=PROBE_SECONDS
            )
        except grpc.RpcError:
            return False
    return bool(reply.status == HealthCheckResponse.SERVING)
