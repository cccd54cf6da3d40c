"""What may happen to API keys and with them: one method, one use case, one transaction."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from time import time
from typing import Any, TypeAlias
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.api_keys import keys, queries
from agent_service.api_keys.expiry import renewed, token_end
from agent_service.api_keys.keys import NewKey
from agent_service.api_keys.last_used import Uses
from agent_service.api_keys.queries import AGENTS, KEYS
from agent_service.api_keys.throttle import Throttle
from shared.auth.access import as_uuid, require_active
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.errors import (
    Reason,
    Refusal,
    Unimplemented,
    Violation,
    caller_inactive,
    not_found,
)
from shared.resources.idempotency import M, Mutation
from shared.resources.listing import Listing, Query
from shared.resources.validation import read_after_access
from shared.schema import (
    FK_AGENT_API_KEYS_AGENT,
    FK_AGENT_API_KEYS_CREATED_BY,
    FK_AGENT_API_KEYS_PROJECT,
)

Values: TypeAlias = dict[str, Any]
# Signs a token: agent id, project id, id of the API key, its capabilities, end.
Issue: TypeAlias = Callable[[UUID, UUID, UUID, Sequence[str], int], str]

NO_PRIVATE_KEY = (
    "API keys are neither made nor exchanged: the service has no key to sign tokens with; "
    "set TANDEM_JWT_PRIVATE_KEY."
)


class ApiKeyRules:
    """The use cases of API keys. `issue` is None where the service signs no tokens."""

    def __init__(self, database: Database, uses: Uses, issue: Issue | None) -> None:
        self._database = database
        self._uses = uses
        self._issue = issue
        self._throttle = Throttle()

    async def create(self, call: Mutation[M], agent_id: str, read: Callable[[], Values]) -> M:
        """Create a key of an agent, which may be inactive still."""
        self._issuing()

        async def work(connection: Connection) -> tuple[Record, NewKey]:
            access = partial(self._require_agent, connection, call.caller, agent_id)
            return await _created(connection, call.caller, await read_after_access(read, access))

        return await call.single(self._database, work)

    async def list(self, caller: Caller, agent_id: str, read: Callable[[], Query]) -> Listing:
        """A page of the keys of an agent."""
        access = partial(self._require_agent, caller=caller, agent_id=agent_id)
        return await queries.LIST.page(self._database, caller, read, access)

    async def revoke(self, call: Mutation[M], api_key_id: str, read: Callable[[], UUID]) -> M:
        """End a key, in a project that is not active, too: it gives nobody a right."""

        async def work(connection: Connection) -> Record | None:
            access = partial(self._require_key, connection, call.caller, api_key_id)
            known = await read_after_access(read, access)
            await KEYS.lock(connection, call.caller, known)
            return await queries.REVOKE.row(connection, id=known)

        return await call.transaction(self._database, work)

    async def rotate(self, call: Mutation[M], api_key_id: str, read: Callable[[], timedelta]) -> M:
        """Create a key like another one, which ends after a grace time.

        The old one is locked: of two rotations at once, and of a rotation and a revocation, the
        second judges by what the first has left.
        """
        self._issuing()

        async def work(connection: Connection) -> tuple[Record, NewKey]:
            access = partial(self._require_key, connection, call.caller, api_key_id)
            grace = await read_after_access(read, access)
            known = UUID(api_key_id)
            await queries.HOLD.run(connection, id=known)
            old = await KEYS.lock(connection, call.caller, known)
            require_active(old["project_id"], old["project_status"])
            if await queries.END_SOON.row(connection, id=known, grace=grace) is None:
                raise _not_usable(old["status"])
            return await _created(connection, call.caller, _successor(old))

        return await call.transaction(self._database, work)

    async def exchange(self, text: str, peer: str) -> tuple[str, int]:
        """A token for a key, and its end in seconds since 1970; `peer` is who asks, as gRPC says.

        Every key that is refused takes the same way, so that nobody learns what is wrong with it.
        """
        issue = self._issuing()
        key_id = keys.key_id_of(text)
        row = await self._database.read(lambda c: queries.FIND.row(c, key_id=key_id))
        assert row is not None
        matches = keys.matches(text, row["api_key_hash"] or keys.NO_HASH)
        if not matches or not row["usable"]:
            raise _refused(self._throttle.failed(key_id, peer))
        self._uses.note(row["id"], row["now"])
        end = token_end(row["expires_at"], time())
        agent = row["agent_id"], row["project_id"]
        return issue(*agent, row["id"], row["capabilities"], end), end

    def _issuing(self) -> Issue:
        if self._issue is None:
            raise Unimplemented(NO_PRIVATE_KEY)
        return self._issue

    async def _require_agent(self, connection: Connection, caller: Caller, agent_id: str) -> None:
        known = as_uuid(agent_id)
        if known is not None:
            await AGENTS.get(connection, caller, known)

    async def _require_key(self, connection: Connection, caller: Caller, api_key_id: str) -> None:
        known = as_uuid(api_key_id)
        if known is not None:
            await KEYS.get(connection, caller, known)


async def _created(connection: Connection, caller: Caller, values: Values) -> tuple[Record, NewKey]:
    """A new key of an agent, which may be deleted meanwhile."""
    key, agent_id = keys.make(), values["of_agent"]
    gone = not_found(Reason.AGENT_NOT_FOUND, agent_id)
    refusals = {
        FK_AGENT_API_KEYS_AGENT: gone,
        FK_AGENT_API_KEYS_PROJECT: gone,
        FK_AGENT_API_KEYS_CREATED_BY: caller_inactive(),
    }
    with translate_violations(refusals):
        row = await queries.CREATE.row(
            connection,
            **caller.rights,
            **values,
            id=uuid7(),
            key_id=key.key_id,
            api_key_hash=keys.hash_of(key.text),
            key_prefix=key.prefix,
            created_by_id=caller.id,
        )
    return AGENTS.written(row, caller, agent_id), key


def _successor(old: Record) -> Values:
    return {
        "of_agent": old["agent_id"],
        "capabilities": old["capabilities"],
        "expires_at": renewed(old["created_at"], old["expires_at"], datetime.now(UTC)),
    }


def _not_usable(status: str) -> Refusal:
    found = "expired" if status == "active" else status
    return Refusal(
        Reason.INVALID_STATUS_TRANSITION,
        f"The API key is {found}; only one that is active can be rotated.",
        metadata={"from": found, "to": "active", "allowed": ""},
        preconditions=[Violation("status", "allowed: active", "INVALID_STATUS_TRANSITION")],
    )


def _refused(delay: float) -> Refusal:
    if delay:
        message = "Too many API keys were refused; try again later, with the right one."
        return Refusal(Reason.LIMIT_EXCEEDED, message, retry_after=delay)
    return Refusal(Reason.API_KEY_INVALID, "The API key is not valid here.")
