"""Callers between the wire and the rules."""

from google.protobuf.timestamp_pb2 import Timestamp

from shared.caller import Agent, Caller, User
from tandem.agent.v1 import auth_service_pb2 as pb


def who(caller: Caller, token_expires_at: float) -> pb.WhoAmIResponse:
    """A caller as a message."""
    answer = pb.WhoAmIResponse(
        caller_id=str(caller.id), token_expires_at=Timestamp(seconds=int(token_expires_at))
    )
    if isinstance(caller, User):
        answer.caller_type = pb.CALLER_TYPE_USER
        answer.user.CopyFrom(_user(caller))
    if isinstance(caller, Agent):
        answer.caller_type = pb.CALLER_TYPE_AGENT
        answer.project_id = str(caller.project_id)
        answer.capabilities.extend(caller.capabilities)
    return answer


def _user(user: User) -> pb.User:
    return pb.User(
        id=str(user.id),
        username=user.name,
        email=user.email,
        full_name=user.full_name,
        is_superuser=user.is_superuser,
    )
