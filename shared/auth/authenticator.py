"""From the metadata of a call to the active user or agent who makes it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Uuid,
    and_,
    any_,
    bindparam,
    false,
    literal,
    or_,
    select,
    union_all,
)

from shared.auth.access import usable
from shared.auth.cache import Cache
from shared.auth.caller import Agent, Caller, User
from shared.auth.faults import Fault
from shared.auth.identities import USER_COLUMNS, Identities
from shared.auth.permissions import Scope
from shared.auth.profile import Profile
from shared.auth.verifier import Claims, Verifier
from shared.database.pool import Connection
from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.errors import Reason, Refusal, caller_inactive
from shared.schema import agent_api_keys, agents, users

MAXIMUM_TOKEN_CHARACTERS = 8192
CACHED_CALLERS = 10_000
# How long a change of a caller may go unnoticed; the promise is "within seconds".
CALLER_SECONDS = 1.0
BEARER = "bearer "

USER = Statement(
    "The active user that a token names.",
    select(*USER_COLUMNS).where(users.c.id == bindparam("id"), users.c.is_active),
)

_key = bindparam("api_key_id", type_=Uuid)
AGENT = Statement(
    "The active agent that a token names, with the capabilities and scopes of the API key, if any, "
    "that the token was given for.",
    select(agents.c.id, agents.c.project_id, agent_api_keys.c.capabilities, agent_api_keys.c.scopes)
    .select_from(
        agents.outerjoin(
            agent_api_keys,
            and_(agent_api_keys.c.id == _key, agent_api_keys.c.agent_id == agents.c.id),
        )
    )
    .where(agents.c.id == bindparam("id"), agents.c.is_active, or_(_key.is_(None), usable())),
)


def _one_of(column: ColumnElement[UUID], name: str) -> ColumnElement[bool]:
    return column == any_(bindparam(name, type_=ARRAY(Uuid)))


_keys = agent_api_keys.c
ACTIVE = Statement(
    "Which of many users, agents and API keys are active, and which users are superusers.",
    union_all(
        select(literal("user").label("kind"), users.c.id, users.c.is_superuser).where(
            _one_of(users.c.id, "users"), users.c.is_active
        ),
        select(literal("agent"), agents.c.id, false()).where(
            _one_of(agents.c.id, "agents"), agents.c.is_active
        ),
        select(literal("key"), _keys.id, false()).where(_one_of(_keys.id, "keys"), usable()),
    ),
)


@dataclass(frozen=True, slots=True)
class Proof:
    """Who calls, and the token that proves it, with its end in seconds since 1970."""

    caller: Caller
    token: str
    expires_at: float


class Authenticator:
    """Verifies tokens and loads the users and agents that they name."""

    def __init__(self, database: Database, verifier: Verifier, *, provision: bool = False) -> None:
        """`provision` makes subjects of other issuers users at their first call."""
        self._database = database
        self._verifier = verifier
        self._identities = Identities(database, provision=provision)
        self._callers: Cache[tuple[Caller, float]] = Cache(CACHED_CALLERS)

    async def authenticate(self, authorization: Sequence[str]) -> Proof:
        """The caller that the `authorization` metadata proves.

        Raises Refusal: TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, CALLER_INACTIVE,
        CALLER_UNKNOWN, LIMIT_EXCEEDED, ISSUER_UNAVAILABLE, DATABASE_UNAVAILABLE.
        """
        token = _bearer(authorization)
        claims = await self._verifier.verify(token)
        cached = self._callers.get(claims.identity)
        if cached is not None and time.monotonic() - cached[1] < CALLER_SECONDS:
            return Proof(cached[0], token, claims.expires_at)
        return Proof(await self._load(claims), token, claims.expires_at)

    async def lapsed(self, callers: Mapping[str, Caller]) -> set[str]:
        """Which of these tokens are good no more, or not for the callers that they were good for.

        It takes one statement for all, which does not see that a subject of another issuer is
        another user by now. Raises Refusal(DATABASE_UNAVAILABLE).
        """
        needed: dict[str, set[tuple[str, UUID, bool]]] = {}
        for token, caller in callers.items():
            with suppress(Refusal):
                needed[token] = _needed(await self._verifier.verify(token), caller)
        ids: dict[str, list[UUID]] = {"user": [], "agent": [], "key": []}
        for kind, id_, _ in set().union(*needed.values()):
            ids[kind].append(id_)
        rows = await self._database.read(
            lambda c: ACTIVE.rows(c, users=ids["user"], agents=ids["agent"], keys=ids["key"])
        )
        found = {(row["kind"], row["id"], row["is_superuser"]) for row in rows}
        return {token for token in callers if token not in needed or not needed[token] <= found}

    async def _load(self, claims: Claims) -> Caller:
        asked = time.monotonic()
        if claims.profile:
            caller = await self._external(claims.profile)
        else:
            find = _user if claims.kind == "user" else _agent
            caller = await self._database.read(lambda connection: find(connection, claims))
        if caller is None:
            raise caller_inactive()
        self._callers.put(claims.identity, (caller, asked))
        return caller

    async def _external(self, profile: Profile) -> Caller | None:
        try:
            return await self._identities.user(profile)
        except Refusal as refusal:
            if refusal.reason is Reason.CALLER_UNKNOWN:
                found, issuer = profile.subject, profile.issuer
                self._verifier.faults.report(Fault("unknown subject", found=found, issuer=issuer))
            raise


async def _user(connection: Connection, claims: Claims) -> Caller | None:
    row = await USER.row(connection, id=claims.subject)
    return None if row is None else User(**row)


async def _agent(connection: Connection, claims: Claims) -> Caller | None:
    row = await AGENT.row(connection, id=claims.subject, api_key_id=claims.api_key_id)
    if row is None:
        return None
    name = f"agent {claims.subject}"
    scopes = frozenset(map(Scope, row["scopes"] or ()))
    capabilities = row["capabilities"] or []
    return Agent(row["id"], name, row["project_id"], capabilities, scopes, claims.api_key_id)


def _needed(claims: Claims, caller: Caller) -> set[tuple[str, UUID, bool]]:
    """What ACTIVE has to find while a token is good for a caller."""
    if isinstance(caller, User):
        return {("user", caller.id, caller.is_superuser)}
    needed = {("agent", caller.id, False)}
    return needed | {("key", claims.api_key_id, False)} if claims.api_key_id else needed


def _bearer(authorization: Sequence[str]) -> str:
    if not authorization:
        message = "The call has no metadata authorization: Bearer <JWT>."
        raise Refusal(Reason.TOKEN_MISSING, message)
    if len(authorization) > 1:
        raise Refusal(Reason.TOKEN_INVALID, "The call has more than one authorization metadata.")
    value = authorization[0]
    if value[: len(BEARER)].lower() != BEARER or len(value) > MAXIMUM_TOKEN_CHARACTERS:
        message = (
            f"The authorization is not Bearer <JWT> of up to {MAXIMUM_TOKEN_CHARACTERS} characters."
        )
        raise Refusal(Reason.TOKEN_INVALID, message)
    return value[len(BEARER) :].strip()
