"""Callers and API keys between the wire and the rules."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from agent_service.api_keys.expiry import LONGEST, SHORTEST, is_allowed
from agent_service.api_keys.keys import NewKey
from shared.auth.caller import Agent, Caller, User
from shared.database.pool import Record
from shared.errors import invalid_field
from shared.messages.api_keys import TO_SCOPE, api_key
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import KIB, timestamp, validate, validate_new
from tandem.agent.v1 import auth_service_pb2 as pb

# They stand in tokens, of which the services take 8 KiB.
CAPABILITIES_BYTES = 4 * KIB
ORDERS = ("created_at",)
TIMES = {"created_at": instant}

FROM_SCOPE = {scope: name for name, scope in TO_SCOPE.items()}
DEFAULT_SCOPES = ["claim_tasks"]


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
        answer.scopes.extend(sorted(TO_SCOPE[scope.value] for scope in caller.scopes))
    return answer


def _user(user: User) -> pb.User:
    times: dict[str, Any] = {"created_at": user.created_at, "updated_at": user.updated_at}
    return pb.User(
        id=str(user.id),
        username=user.name,
        email=user.email,
        full_name=user.full_name,
        is_active=True,
        is_superuser=user.is_superuser,
        revision=user.revision,
        **times,
    )


def created(found: tuple[Record, NewKey]) -> pb.CreateApiKeyResponse:
    """A new key, with its secret."""
    row, key = found
    return pb.CreateApiKeyResponse(api_key=api_key(row), secret=key.text)


def rotated(found: tuple[Record, NewKey]) -> pb.RotateApiKeyResponse:
    """A new key in place of an old one, with its secret."""
    row, key = found
    return pb.RotateApiKeyResponse(api_key=api_key(row), secret=key.text)


def revoked(number: int) -> pb.RevokeApiKeysResponse:
    """How many keys were revoked."""
    return pb.RevokeApiKeysResponse(revoked=number)


def granted(token: str, expires_at: int) -> pb.ExchangeApiKeyResponse:
    """A token that was given for a key."""
    return pb.ExchangeApiKeyResponse(access_token=token, expires_at=Timestamp(seconds=expires_at))


async def listing(found: Listing, pager: Pager) -> pb.ListApiKeysResponse:
    """A page of rows."""
    response = pb.ListApiKeysResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, api_key, response.api_keys)
    return response


def new_api_key(request: pb.CreateApiKeyRequest) -> dict[str, Any]:
    """The columns of a key that is to be created, as far as its agent's owner says them."""
    validate_new(request, "api_key")
    return columns(request.api_key, "api_key")


def columns(key: pb.ApiKey, path: str) -> dict[str, Any]:
    """What is said of a new key in the field `path` of a request that is valid otherwise."""
    return {
        "capabilities": _capabilities(key, f"{path}.capabilities"),
        "scopes": [FROM_SCOPE[scope] for scope in key.scopes] or DEFAULT_SCOPES,
        "expires_at": _expires_at(key, f"{path}.expires_at"),
    }


def query(request: pb.ListApiKeysRequest, pager: Pager) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = {"agent_id": UUID(request.agent_id)}
    return Query(filters, pager.read(request, filters, ORDERS, TIMES))


def grace(request: pb.RotateApiKeyRequest) -> timedelta:
    """How long the old key stays valid."""
    validate(request)
    return request.grace_period.ToTimedelta()


def holder(request: pb.RevokeApiKeysRequest) -> UUID:
    """The agent or the project whose keys are meant."""
    validate(request)
    return UUID(request.agent_id or request.project_id)


def secret(request: pb.ExchangeApiKeyRequest) -> str:
    """The key that is to be exchanged."""
    validate(request)
    return request.api_key


def _capabilities(key: pb.ApiKey, path: str) -> list[str]:
    capabilities = list(key.capabilities)
    if len(json.dumps(capabilities)) > CAPABILITIES_BYTES:
        limit = f"must be at most {CAPABILITIES_BYTES // KIB} KiB together, as ASCII JSON"
        raise invalid_field(path, limit)
    return capabilities


def _expires_at(key: pb.ApiKey, path: str) -> datetime | None:
    expires_at = timestamp(key, "expires_at", path)
    if expires_at is not None and not is_allowed(expires_at, datetime.now(UTC)):
        raise invalid_field(path, f"must be {SHORTEST.days} to {LONGEST.days} days ahead")
    return expires_at
