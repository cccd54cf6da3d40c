"""What both clients take if they are not told otherwise."""

from collections.abc import Sequence
from typing import Any

import grpc

from tandem_client.retries import Retries
from tandem_client.tls import Tls

AGENT_ADDRESS = "127.0.0.1:50051"
TASK_ADDRESS = "127.0.0.1:50052"
TIMEOUT_SECONDS = 30.0
RETRIES = Retries()

CHANNEL: dict[str, Any] = {
    # A connection that died silently under a call is found within 25 s, which leaves time to repeat
    # the call. The services allow a ping every 10 s.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
    # After an outage calls go through within 5 s: by default it may take 2 minutes.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 5_000,
}


def merged(options: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The channel options, the caller's own instead of ours."""
    return list({**CHANNEL, **dict(options)}.items())


def secured(
    tls: Tls | grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> tuple[grpc.ChannelCredentials | None, list[tuple[str, Any]]]:
    """The credentials of a channel, if it has any, and its options."""
    if isinstance(tls, Tls):
        return tls.credentials(), merged([*tls.options, *options])
    return tls, merged(options)
