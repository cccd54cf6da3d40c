"""What may happen to API keys and with them: one method, one use case, one transaction."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from time import time
from typing import TypeAlias
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.api_keys import keys, queries
from agent_service.api_keys.expiry import renewed, token_end
from agent_service.api_keys.keys import NewKey
from agent_service.api_keys.lane import Lane, too_many
from agent_service.api_keys.last_used import LastUsedWriter
from agent_service.api_keys.queries import AGENTS, KEYS
from agent_service.api_keys.throttle import Throttle
from shared.auth.access import require_active
from shared.auth.caller import Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.dependents.rules import follow_all
from shared.errors import (
    Reason,
    Refusal,
    Violation,
    caller_inactive,
    enum_name,
    not_found,
)
from shared.events.recording import Log, Recorder
from shared.resources import leases
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import (
    PROJECTS,
    ProjectScopedTable,
    Refusals,
    Values,
    as_new,
)
from shared.resources.validation import Parsed
from shared.schema import (
    FK_AGENT_API_KEYS_AGENT,
    FK_AGENT_API_KEYS_CREATED_BY,
    FK_AGENT_API_KEYS_PROJECT,
)

# Signs a token: agent id, project id, id of the API key, its capabilities, end.
Issue: TypeAlias = Callable[[UUID, UUID, UUID, Sequence[str], int], str]

NO_PRIVATE_KEY = (
    "API keys are neither made nor exchanged: the service has no key to sign tokens with; "
    "set TANDEM_JWT_PRIVATE_KEY."
)


class ApiKeyRules:
    """The use cases of API keys. `issue` is None if the service signs no tokens."""

    def __init__(self, database: Database, last_used: LastUsedWriter, issue: Issue | None) -> None:
        self._database = database
        self._last_used = last_used
        self._issue = issue
        self._throttle = Throttle()
        self._lane = Lane()

    def require_available(self) -> None:
        """Raise Refusal(METHOD_NOT_AVAILABLE) if keys would be of no use: nothing is signed."""
        self._require_issue()

    async def create(self, call: IdempotentCall[M], agent_id: str, api_key: Parsed[Values]) -> M:
        """Create a key of an agent, which may be inactive still."""
        self._require_issue()

        async def work(connection: Connection, log: Recorder) -> tuple[Record, NewKey]:
            values = await AGENTS.content(connection, call.caller, agent_id, api_key)
            return await _created(connection, log, call.caller, UUID(agent_id), values)

        return await call.single(self._database, work)

    async def create_first(
        self, connection: Connection, log: Log, caller: Caller, agent_id: UUID, values: Values
    ) -> tuple[Record, NewKey]:
        """Create a key of an agent that is created in the same transaction."""
        return await _created(connection, log, caller, agent_id, values)

    async def list(self, caller: Caller, agent_id: str, query: Parsed[Query]) -> Listing:
        """A page of the keys of an agent."""
        return await self._database.read(
            lambda c: queries.LIST.page(c, caller, AGENTS, agent_id, query)
        )

    async def revoke(self, call: IdempotentCall[M], api_key_id: str, known: Parsed[UUID]) -> M:
        """End a key, also in a project that is not active: that gives no one a right.

        What was claimed or renewed last under it is taken from its agent.
        """

        async def work(connection: Connection, log: Log) -> Record:
            key_id = await KEYS.content(connection, call.caller, api_key_id, known)
            await queries.LOCK_HOLDER.run(connection, call.caller.rights, id=key_id)
            before = await KEYS.lock(connection, call.caller, key_id)
            rows = await queries.REVOKE.rows(connection, id=key_id)
            log.add(rows)
            await _release(connection, log, rows)
            return rows[0] if rows else before

        return await call.transaction(self._database, work)

    async def revoke_all(
        self, call: IdempotentCall[M], agent_id: str, project_id: str, target: Parsed[UUID]
    ) -> M:
        """End all keys of an agent or, without one, of a project; also if that is not active.

        A rotation that is under way adds a key that only a later statement can see: keys are looked
        for until there is none, so that no successor of a key survives it.
        """
        table: ProjectScopedTable = AGENTS
        lock, statement = queries.LOCK_AGENT, queries.REVOKE_ALL_OF_AGENT
        if not agent_id:
            table = PROJECTS
            lock, statement = queries.LOCK_AGENTS, queries.REVOKE_ALL_OF_PROJECT

        async def work(connection: Connection, log: Log) -> int:
            known = await table.content(connection, call.caller, agent_id or project_id, target)
            await lock.run(connection, call.caller.rights, id=known)
            await table.get(connection, call.caller, known, Permission.ADMINISTER)
            total = 0
            while rows := await statement.rows(connection, call.caller.rights, id=known):
                log.add(rows)
                await _release(connection, log, rows)
                total += len(rows)
            return total

        return await call.transaction(self._database, work)

    async def rotate(self, call: IdempotentCall[M], api_key_id: str, grace: Parsed[timedelta]) -> M:
        """Create a key like another one, which ends after a grace time.

        The old one is locked: of two rotations at once, and of a rotation and a revocation, the
        second judges by what the first has left.
        """
        self._require_issue()

        async def work(connection: Connection, log: Log) -> tuple[Record, NewKey]:
            time = await KEYS.content(connection, call.caller, api_key_id, grace)
            known = UUID(api_key_id)
            await queries.LOCK_PARENTS.run(connection, call.caller.rights, id=known)
            old = await KEYS.lock(connection, call.caller, known)
            require_active(old["project_id"], old["found_project_status"])
            rows = await queries.END_SOON.rows(connection, id=known, grace=time)
            if not rows:
                raise _not_usable(old["status"])
            log.add(rows)
            return await _created(connection, log, call.caller, old["agent_id"], _successor(old))

        return await call.transaction(self._database, work)

    async def exchange(self, text: str, peer: str) -> tuple[str, int]:
        """A token for a key, and its end in seconds since 1970; `peer` is its address in gRPC.

        Every key that is refused takes the same way, so that its sender does not learn why.
        """
        issue = self._require_issue()
        key_id = keys.key_id_of(text)
        slowed = self._throttle.fails_often(peer)
        async with self._lane.turn() if slowed else nullcontext():
            row = await self._database.read(lambda c: queries.FIND.row(c, key_id=key_id))
        assert row is not None
        matches = keys.matches(text, row["api_key_hash"] or keys.NO_HASH)
        if not matches or not row["usable"]:
            raise _refused(self._throttle.failed(key_id, peer))
        self._last_used.note(row["id"], row["now"])
        end = token_end(row["expires_at"], time())
        agent = row["agent_id"], row["project_id"]
        return issue(*agent, row["id"], row["capabilities"], end), end

    def _require_issue(self) -> Issue:
        if self._issue is None:
            raise Refusal(Reason.METHOD_NOT_AVAILABLE, NO_PRIVATE_KEY)
        return self._issue


async def _created(
    connection: Connection, log: Recorder, caller: Caller, agent_id: UUID, values: Values
) -> tuple[Record, NewKey]:
    """A new key of an agent, which may be deleted meanwhile."""
    key = keys.make()
    new = as_new(
        {
            **values,
            "id": uuid7(),
            "key_id": key.key_id,
            "api_key_hash": keys.hash_of(key.text),
            "key_prefix": key.prefix,
            "created_by_id": caller.id,
        }
    )
    with translate_violations(REFUSALS, {"agent_id": agent_id}):
        outcome = await AGENTS.decide(connection, log, caller, queries.CREATE, agent_id, **new)
    assert outcome.row is not None, "the creation has no conditions of its own"
    return outcome.row, key


async def _release(connection: Connection, log: Log, keys: Sequence[Record]) -> None:
    """End the leases under keys of a project that are revoked."""
    if keys:
        project_id = keys[0]["told_project_id"]
        ids = [key["told_resource_id"] for key in keys]
        of_keys = {"project_id": project_id, "api_key_ids": ids}
        await follow_all(connection, log, await leases.RELEASE_KEYS.rows(connection, **of_keys))


def _successor(old: Record) -> Values:
    return {
        "capabilities": old["capabilities"],
        "scopes": old["scopes"],
        "expires_at": renewed(old["created_at"], old["expires_at"], datetime.now(UTC)),
    }


def _not_usable(status: str) -> Refusal:
    found = "expired" if status == "active" else status
    return Refusal(
        Reason.INVALID_STATUS_TRANSITION,
        f"The API key is {found}; only one that is active can be rotated.",
        metadata={
            "from": enum_name("API_KEY_STATUS", found),
            "to": enum_name("API_KEY_STATUS", "active"),
            "allowed": "",
        },
        preconditions=[Violation("status", "must be active", "INVALID_STATUS_TRANSITION")],
    )


def _refused(delay: float) -> Refusal:
    if delay:
        return too_many(delay)
    return Refusal(Reason.API_KEY_INVALID, "The API key is not valid here.")


def _agent_gone(api_key: Values) -> Refusal:
    return not_found(Reason.AGENT_NOT_FOUND, api_key["agent_id"])


REFUSALS: Refusals = {
    FK_AGENT_API_KEYS_AGENT: _agent_gone,
    FK_AGENT_API_KEYS_PROJECT: _agent_gone,
    FK_AGENT_API_KEYS_CREATED_BY: lambda _api_key: caller_inactive(),
}
