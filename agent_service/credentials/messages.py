"""Callers between the wire and the rules."""

from google.protobuf.timestamp_pb2 import Timestamp

from shared.caller import Caller
from tandem.agent.v1 import auth_service_pb2 as pb


def who(caller: Caller, token_expires_at: float) -> pb.WhoAmIResponse:
    """A caller as a message."""
    return pb.WhoAmIResponse(
        caller_type=pb.CALLER_TYPE_USER,
        caller_id=str(caller.id),
        user=pb.User(
            id=str(caller.id),
            username=caller.username,
            email=caller.email,
            full_name=caller.full_name,
            is_superuser=caller.is_superuser,
        ),
        token_expires_at=Timestamp(seconds=int(token_expires_at)),
    )
