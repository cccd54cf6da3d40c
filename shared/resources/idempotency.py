"""Mutations that are safe to repeat: `request_id`, kept in the same transaction as the change."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import asyncpg
import structlog
from google.protobuf.message import Message
from sqlalchemy import Uuid, bindparam, delete, func, literal_column, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from shared.auth.access import as_uuid
from shared.auth.caller import Agent, Caller, caller, current_call
from shared.auth.encryption import Sealer
from shared.database.pool import Connection, UnitOfWork
from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.errors import Reason, Refusal
from shared.schema import request_ids

M = TypeVar("M", bound=Message)
log = structlog.get_logger()

KEPT = timedelta(hours=24)
SWEEP_EVERY_SECONDS = 600.0
SWEEP_ROWS = 10_000

_expired = request_ids.c.created_at < func.now() - KEPT
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
# Claims a request id: answers a row to whoever comes first. Who comes second waits here for the
# first one's transaction to end.
CLAIM = Statement(
    _insert.on_conflict_do_update(
        index_elements=["caller_id", "method", "request_id"],
        set_={
            "payload_hash": _insert.excluded.payload_hash,
            "answer": None,
            "created_at": func.now(),
        },
        where=_expired,
    ).returning(literal_column("1"))
)
# What the first one sent and was answered.
FIND = Statement(
    select(request_ids.c.payload_hash, request_ids.c.answer).where(_this_one, ~_expired)
)
# Keeps the answer, in the transaction that claimed the request id.
KEEP = Statement(update(request_ids).where(_this_one).values(answer=bindparam("kept_answer")))
# Forgets a bounded number of those whose time is over; several services may do so at once.
SWEEP = Statement(
    delete(request_ids).where(
        tuple_(request_ids.c.caller_id, request_ids.c.method, request_ids.c.request_id).in_(
            select(request_ids.c.caller_id, request_ids.c.method, request_ids.c.request_id)
            .where(_expired)
            .limit(SWEEP_ROWS)
            .with_for_update(skip_locked=True)
        )
    )
)


class MutationRequest(Protocol):
    """Every request that changes something."""

    request_id: str

    def CopyFrom(self, other: Any, /) -> None: ...  # noqa: N802
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...  # noqa: N802


@dataclass(frozen=True, slots=True)
class Mutation(Generic[M]):
    """A call that changes something: who makes it, what it says, and what its answer is made by.

    An answer with a secret in it is kept as `sealer` seals it.
    """

    caller: Caller
    method: str
    request: MutationRequest
    answer: Callable[[Any], M]
    answer_type: type[M]
    sealer: Sealer | None = None

    async def single(self, database: Database, work: UnitOfWork[Any]) -> M:
        """Run a unit of work that changes something by one statement only; see Database.single.

        Raises Refusal(REQUEST_ID_REUSED) besides what the work and the database refuse.
        """
        if self._request_id() is None:
            return self.answer(await database.single(work))
        return await self.transaction(database, work)

    async def transaction(self, database: Database, work: UnitOfWork[Any]) -> M:
        """Run a unit of work in a transaction; see Database.transaction.

        Raises Refusal(REQUEST_ID_REUSED) besides what the work and the database refuse.
        """

        async def once(connection: Connection) -> M:
            request_id = self._request_id()
            if request_id is None:
                return self.answer(await work(connection))
            return await self._once(connection, request_id, work)

        return await database.transaction(once)

    async def first_answer(self, connection: Connection) -> M | None:
        """The answer of a call that was made before, where there was one."""
        request_id = self._request_id()
        if request_id is None:
            return None
        return await self._recall(connection, self._key(request_id), self._payload_hash())

    async def _once(self, connection: Connection, request_id: UUID, work: UnitOfWork[Any]) -> M:
        key = self._key(request_id)
        payload_hash = self._payload_hash()
        if await CLAIM.row(connection, **key, payload_hash=payload_hash) is None:
            answer = await self._recall(connection, key, payload_hash)
            if answer is None:
                raise Refusal(Reason.CONFLICT, "The first call with this request_id was undone.")
            return answer
        answer = self.answer(await work(connection))
        await KEEP.run(connection, **key, kept_answer=self._closed(answer, key))
        return answer

    async def _recall(
        self, connection: Connection, key: dict[str, Any], payload_hash: bytes
    ) -> M | None:
        found = await FIND.row(connection, **key)
        if found is None or found["answer"] is None:
            return None
        if found["payload_hash"] != payload_hash:
            raise Refusal(
                Reason.REQUEST_ID_REUSED,
                "This request_id was used before with another payload.",
                metadata={"request_id": str(key["request_id"])},
            )
        return self.answer_type.FromString(self._opened(found["answer"], key))

    def _closed(self, answer: M, key: dict[str, Any]) -> bytes:
        content = answer.SerializeToString()
        return self.sealer.seal(content, _context(key)) if self.sealer else content

    def _opened(self, kept: bytes, key: dict[str, Any]) -> bytes:
        content = self.sealer.open(kept, _context(key)) if self.sealer else kept
        if content is None:
            raise Refusal(
                Reason.REQUEST_ID_REUSED,
                "This request_id was used before, and its answer can be read no more: the key "
                "that the service signs with has changed.",
                metadata={"request_id": str(key["request_id"])},
            )
        return content

    def _key(self, request_id: UUID) -> dict[str, Any]:
        # The id of an agent may be that of a user, too, where both came from an older system.
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
        """None also where it is malformed: the request's validation refuses that, after access."""
        return as_uuid(self.request.request_id)


def mutation(
    request: MutationRequest,
    answer: Callable[[Any], M],
    answer_type: type[M],
    sealer: Sealer | None = None,
) -> Mutation[M]:
    """The mutation that is being served."""
    return Mutation(caller(), current_call.get().method, request, answer, answer_type, sealer)


def _context(key: dict[str, Any]) -> bytes:
    """What an answer is the answer to: sealed, it cannot be passed off as another one's."""
    return f"{key['caller_id']} {key['method']} {key['request_id']}".encode()


async def sweep(database: Database) -> None:
    """Forget request ids whose time is over."""
    await database.single(SWEEP.run)


async def sweep_forever(database: Database) -> None:
    """Sweep now and then, until cancelled."""
    while True:
        try:
            await sweep(database)
        except (Refusal, asyncpg.PostgresError) as error:
            log.warning("request ids not swept", cause=repr(error))
        await asyncio.sleep(SWEEP_EVERY_SECONDS)
