"""Mutations that are safe to repeat: `request_id`, kept in the same transaction as the change."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from sqlalchemy import Uuid, bindparam, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from shared.auth.caller import Agent, Caller, current_call, offered
from shared.auth.encryption import Encryptor
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.errors import Reason, Refusal
from shared.events.news import committed
from shared.events.recording import ALONE, Log, recorded
from shared.resources.building import SMALL_BYTES, build
from shared.resources.retention import expired, no_room, stored
from shared.resources.validation import as_uuid
from shared.schema import request_ids

M = TypeVar("M", bound=Message)
# What a call does, with what takes up its events: nothing, or a Log in a transaction.
Work: TypeAlias = Callable[..., Awaitable[Any]]

# A repeated call gets the first response exactly, whatever became of the row since, so the response
# itself is kept; PostgreSQL compresses it. Small ones are not counted: each call would pay for it.
LARGE_BYTES = 16 * 1024
MAXIMUM_KEPT_BYTES = 256 * 1024 * 1024  # of one caller's large responses together

_this_one = (
    (request_ids.c.caller_id == bindparam("caller_id"))
    & (request_ids.c.method == bindparam("method"))
    & (request_ids.c.request_id == bindparam("request_id", type_=Uuid()))
)
_insert = insert(request_ids).values(
    caller_id=bindparam("caller_id"),
    method=bindparam("method"),
    request_id=bindparam("request_id"),
    payload_hash=bindparam("payload_hash"),
)
CLAIM = Statement(
    "Claims a request id: answers a row to the call that comes first. A second one waits here for "
    "the first one's transaction to end.",
    _insert.on_conflict_do_update(
        index_elements=["caller_id", "method", "request_id"],
        set_={
            "payload_hash": _insert.excluded.payload_hash,
            "answer": None,
            "created_at": func.now(),
        },
        where=expired,
    ).returning(literal_column("1")),
)
FIND = Statement(
    "What the first call with a request id has sent and what it was answered.",
    select(request_ids.c.payload_hash, request_ids.c.answer).where(_this_one, ~expired),
)
KEEP = Statement(
    "Keeps the response, in the transaction that has claimed the request id.",
    update(request_ids).where(_this_one).values(answer=bindparam("response")),
)
_size = func.octet_length(request_ids.c.answer)
KEPT_BYTES = Statement(
    "The bytes of the large responses that are kept for a caller.",
    select(func.coalesce(func.sum(_size), 0).label("bytes")).where(
        request_ids.c.caller_id == bindparam("caller_id"), _size > LARGE_BYTES, ~expired
    ),
)


class MutationRequest(Protocol):
    """Every request that changes something."""

    request_id: str

    def CopyFrom(self, other: Any, /) -> None: ...  # noqa: N802
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...  # noqa: N802


@dataclass(frozen=True, slots=True)
class IdempotentCall(Generic[M]):
    """A call that changes something: who makes it, what it says, and what it is answered by.

    A call without a `request_id` is made as it is. One with an id that was used before is answered
    as the first one was. A response with a secret in it is kept as `encryptor` encrypts it.
    """

    caller: Caller
    method: str
    request: MutationRequest
    to_response: Callable[[Any], Any]
    response_type: type[M]
    encryptor: Encryptor | None = None

    async def single(self, database: Database, work: Work) -> M:
        """Run work that changes something by one statement only; see Database.single.

        Raises Refusal(REQUEST_ID_REUSED) besides what the work and the database refuse.
        """
        if self.request.request_id:
            return await self.transaction(database, work)
        found = await database.single(partial(work, log=ALONE))
        committed()
        return await self._respond(found)

    async def transaction(self, database: Database, work: Work) -> M:
        """Run work in a transaction, at whose end its events are appended.

        See Database.transaction. Raises Refusal(REQUEST_ID_REUSED) besides what the work and the
        database refuse.
        """
        request_id = self._request_id()
        if request_id is None:
            once = recorded(work, offered(self.caller))
            response = await self._respond(await database.transaction(once))
        else:
            key, payload_hash = self._key(request_id), self._payload_hash()
            once = recorded(partial(self._once, key, payload_hash, work), offered(self.caller))
            response = await database.transaction(once)
        committed()
        return response

    async def stored_response(self, connection: Connection) -> M | None:
        """The response to a call with this request id that was made before; None if none was."""
        request_id = self._request_id()
        if request_id is None:
            return None
        return await self._replay(connection, self._key(request_id), self._payload_hash())

    async def _once(
        self,
        key: dict[str, Any],
        payload_hash: bytes,
        work: Work,
        connection: Connection,
        log: Log,
    ) -> M:
        if await CLAIM.row(connection, **key, payload_hash=payload_hash) is None:
            found = await self._replay(connection, key, payload_hash)
            if found is None:
                raise Refusal(Reason.CONFLICT, "The first call with this request_id was undone.")
            return found
        response = await self._respond(await work(connection, log))
        content = self._encrypt(response, key)
        stored.add(self.caller.id, len(content))
        if len(content) > LARGE_BYTES:
            await _require_room(connection, self.caller.id, len(content))
        await KEEP.run(connection, **key, response=content)
        return response

    async def _respond(self, found: Any) -> M:
        """The response to what was found, which most often is a row. What makes it of many waits
        between them."""
        if isinstance(found, Record) and any(
            type(value) is bytes and len(value) > SMALL_BYTES for value in found.values()
        ):
            return await build(found, self.to_response)
        made = self.to_response(found)
        response: M = await made if isinstance(made, Awaitable) else made
        return response

    async def _replay(
        self, connection: Connection, key: dict[str, Any], payload_hash: bytes
    ) -> M | None:
        found = await FIND.row(connection, **key)
        if found is None or found["answer"] is None:
            return None
        if found["payload_hash"] != payload_hash:
            raise _reused(key, "This request_id was used before with another payload.")
        return self.response_type.FromString(self._decrypt(found["answer"], key))

    def _encrypt(self, response: M, key: dict[str, Any]) -> bytes:
        content = response.SerializeToString()
        return self.encryptor.encrypt(content, _context(key)) if self.encryptor else content

    def _decrypt(self, stored: bytes, key: dict[str, Any]) -> bytes:
        content = self.encryptor.decrypt(stored, _context(key)) if self.encryptor else stored
        if content is None:
            raise _reused(
                key,
                "This request_id was used before, and its answer can be read no more: the key "
                "that the service signs with has changed.",
            )
        return content

    def _key(self, request_id: UUID) -> dict[str, Any]:
        # The id of an agent may also be that of a user, if both came from an older system.
        by = " by an agent" if isinstance(self.caller, Agent) else ""
        return {
            "caller_id": self.caller.id,
            "method": f"{self.method}{by}",
            "request_id": request_id,
        }

    def _payload_hash(self) -> bytes:
        payload = type(self.request)()
        payload.CopyFrom(self.request)
        payload.request_id = ""  # the key: one id may be spelled in two ways
        return hashlib.sha256(payload.SerializeToString(deterministic=True)).digest()

    def _request_id(self) -> UUID | None:
        """None also if it is malformed: the request's content is refused for that, after access."""
        return as_uuid(self.request.request_id)


def idempotent_call(
    request: MutationRequest,
    to_response: Callable[[Any], Any],
    response_type: type[M],
    encryptor: Encryptor | None = None,
) -> IdempotentCall[M]:
    """The call that is being served."""
    call = current_call.get()
    assert call.caller is not None, "the interceptor has refused all others"
    return IdempotentCall(call.caller, call.method, request, to_response, response_type, encryptor)


def to_empty(_nothing: None) -> Empty:
    """The response to a deletion."""
    return Empty()


def _reused(key: dict[str, Any], message: str) -> Refusal:
    metadata = {"request_id": str(key["request_id"])}
    return Refusal(Reason.REQUEST_ID_REUSED, message, metadata=metadata)


def _context(key: dict[str, Any]) -> bytes:
    """What a response is bound to: encrypted, it cannot be passed off as another call's."""
    return f"{key['caller_id']} {key['method']} {key['request_id']}".encode()


async def _require_room(connection: Connection, caller_id: UUID, size: int) -> None:
    """Raise Refusal(LIMIT_EXCEEDED) if a response of this size is one too many to be kept."""
    kept = await KEPT_BYTES.row(connection, caller_id=caller_id)
    assert kept is not None, "a sum is one row"
    if kept["bytes"] + size > MAXIMUM_KEPT_BYTES:
        raise no_room("day", MAXIMUM_KEPT_BYTES)
