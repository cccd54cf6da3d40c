"""Who the subjects of other issuers are here: users who are linked to them, or made at first call.

An issuer and its subject are the identity. A user is never found by an equal name or email address:
what an issuer says about those is not proof enough to become a user who exists already.
"""

from typing import Any

import asyncpg
from sqlalchemy import (
    ARRAY,
    String,
    Uuid,
    bindparam,
    case,
    exists,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql
from uuid_utils.compat import uuid4, uuid7

from shared.auth.caller import User
from shared.auth.profile import Profile, placeholder_email, usernames
from shared.auth.rate import Rate
from shared.database.pool import Record
from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.errors import Reason, Refusal, conflict
from shared.events.recording import ALONE, SYSTEM, Change, told
from shared.schema import PK_USER_IDENTITIES, user_identities, users

# An issuer that anyone can join may name any number of subjects: so many users are made for it,
# by one process.
USERS_PER_SECOND = 10
ATTEMPTS = 4
RETRY_AFTER_SECONDS = 1.0

# What a User is made of.
USER_COLUMNS = (
    users.c.id,
    users.c.username.label("name"),
    users.c.email,
    users.c.full_name,
    users.c.is_superuser,
    users.c.created_at,
    users.c.updated_at,
    users.c.revision,
)
IDENTITY = Statement(
    "The user who a subject of another issuer is.",
    select(*USER_COLUMNS, users.c.is_active)
    .select_from(user_identities.join(users, users.c.id == user_identities.c.user_id))
    .where(
        user_identities.c.issuer == bindparam("issuer"),
        user_identities.c.subject == bindparam("subject"),
    ),
)

_names = (
    func.unnest(bindparam("usernames", type_=ARRAY(String)))
    .table_valued("username", with_ordinality="position", name="names")
    .render_derived()
)
_chosen = (
    select(_names.c.username)
    .where(~exists().where(func.lower(users.c.username) == func.lower(_names.c.username)))
    .order_by(_names.c.position)
    .limit(1)
    .cte("chosen")
)
_email, _placeholder = bindparam("email", type_=String), bindparam("placeholder", type_=String)
_has_email = exists().where(func.lower(users.c.email) == func.lower(_email))
_made = (
    postgresql.insert(users)
    .from_select(
        ["id", "username", "email", "full_name"],
        select(
            bindparam("id", type_=Uuid),
            _chosen.c.username,
            case((_email.is_(None) | _has_email, _placeholder), else_=_email),
            bindparam("full_name", type_=String),
        ),
        include_defaults=False,
    )
    .on_conflict_do_nothing()
    .returning(*users.c)
    .cte("made")
)
_identity = (
    insert(user_identities)
    .from_select(
        ["issuer", "subject", "user_id"],
        select(bindparam("issuer", type_=String), bindparam("subject", type_=String), _made.c.id),
        include_defaults=False,
    )
    .returning(user_identities.c.user_id)
    .cte("identity")
)
MAKE = Change(
    "A user for a subject that is not known yet, with the first name that is free, and with its "
    "email address if that is. No user is made if another call takes one of both meanwhile, and "
    "none of two calls for the same subject.",
    [_identity.c.user_id],
    _identity,
    select(*told(users, "user.created", _made)).cte("told"),
)


class Identities:
    """Finds the users who subjects are; makes those who are missing if `provision` says so."""

    def __init__(self, database: Database, *, provision: bool) -> None:
        self._database = database
        self._provision = provision
        self._rates: dict[str, Rate] = {}

    async def user(self, profile: Profile) -> User | None:
        """The user; None if it is inactive.

        Raises Refusal: CALLER_UNKNOWN, or, while too many users are made, LIMIT_EXCEEDED.
        """
        row = await self._find(profile) or await self._make(profile)
        found = dict(row)
        return User(**found) if found.pop("is_active") else None

    async def _find(self, profile: Profile) -> Record | None:
        issuer, subject = profile.issuer, profile.subject
        return await self._database.read(
            lambda connection: IDENTITY.row(connection, issuer=issuer, subject=subject)
        )

    async def _make(self, profile: Profile) -> Record:
        if not self._provision:
            raise _unknown()
        if not self._rate(profile.issuer).take():
            message = "Too many new users call at once; try again."
            seconds = RETRY_AFTER_SECONDS
            raise Refusal(Reason.LIMIT_EXCEEDED, message, retry_after=seconds, limit="new_users")
        for _ in range(ATTEMPTS):
            await self._try_to_make(profile)
            if found := await self._find(profile):
                return found
        raise conflict()

    async def _try_to_make(self, profile: Profile) -> None:
        user_id = uuid7()
        values: dict[str, Any] = {
            "issuer": profile.issuer,
            "subject": profile.subject,
            "usernames": usernames(profile.username, uuid4().hex[:12]),
            "email": profile.email,
            "placeholder": placeholder_email(user_id),
            "full_name": profile.full_name,
            "id": user_id,
        }
        try:
            await self._database.single(lambda c: ALONE.run(c, MAKE, SYSTEM, values))
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != PK_USER_IDENTITIES:
                raise
            # Another call has made the user.

    def _rate(self, issuer: str) -> Rate:
        return self._rates.setdefault(issuer, Rate(USERS_PER_SECOND, USERS_PER_SECOND))


def _unknown() -> Refusal:
    message = "The token is valid, but its subject is not known here as a user."
    return Refusal(Reason.CALLER_UNKNOWN, message)
