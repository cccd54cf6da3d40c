"""What a caller reaches is the same in SQL, in Python and in the scope of a list."""

from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Uuid, bindparam, select

from shared.auth.access import RIGHTS, Scope, reached_by, reaches, scope, visible
from shared.auth.caller import Agent, Caller, User
from shared.database.statement import Statement
from shared.database.transaction import Database

ALICE, BOB, SCOUT, ROVER, PROJECT = (UUID(int=number) for number in range(1, 6))


def user(user_id: UUID, *, superuser: bool = False) -> User:
    return User(user_id, "user", "user@example.com", None, superuser)


def agent(agent_id: UUID) -> Agent:
    return Agent(agent_id, "agent", PROJECT, [])


# Who calls, the owner of the row's project, the agent of the row, and whether that is reached.
CASES = [
    (user(ALICE), ALICE, None, True),
    (user(ALICE), ALICE, SCOUT, True),
    (user(ALICE), BOB, None, False),
    (user(ALICE), BOB, SCOUT, False),
    (user(ALICE, superuser=True), BOB, None, True),
    (user(ALICE, superuser=True), BOB, SCOUT, True),
    (agent(SCOUT), ALICE, SCOUT, True),
    (agent(SCOUT), ALICE, ROVER, False),
    (agent(SCOUT), ALICE, None, False),
    # In data of an older system, the id of an agent may be that of a user.
    (agent(ALICE), ALICE, None, False),
    (agent(ALICE), ALICE, SCOUT, False),
    (user(SCOUT), BOB, SCOUT, False),
]

_owner, _agent = bindparam("owner", type_=Uuid), bindparam("agent", type_=Uuid)
VISIBLE = Statement("Whether a row is visible.", select(visible(_owner, _agent)))
VISIBLE_OF_NO_AGENT = Statement("The same for a table of no agent.", select(visible(_owner)))


@pytest.mark.parametrize(("caller", "owner", "agent_id", "reached"), CASES)
async def test_sql_and_python_say_the_same(
    database: Database, caller: Caller, owner: UUID, agent_id: UUID | None, reached: bool
) -> None:
    assert reaches(caller, owner, agent_id) is reached
    assert await says(database, VISIBLE, caller, owner=owner, agent=agent_id) is reached
    if agent_id is None:
        assert await says(database, VISIBLE_OF_NO_AGENT, caller, owner=owner) is reached


@pytest.mark.parametrize(("caller", "owner", "agent_id", "reached"), CASES)
async def test_the_scope_of_a_list_says_the_same(
    database: Database, caller: Caller, owner: UUID, agent_id: UUID | None, reached: bool
) -> None:
    condition = reached_by(RIGHTS, _owner, _agent)[scope(caller)]
    statement = Statement("Whether a row is in scope.", select(condition))
    given = {"owner": owner, "agent": agent_id}
    named = {name: value for name, value in given.items() if name in statement.names}
    assert await says(database, statement, caller, **named) is reached


def test_a_caller_has_the_rights_of_one_scope_only() -> None:
    """Nothing is reached through a scope that is not the caller's own."""
    for caller, within in product((user(ALICE), agent(ALICE)), Scope):
        if within is not scope(caller):
            assert reached_by(caller.rights, ALICE, ALICE)[within] is False


async def says(database: Database, statement: Statement, caller: Caller, **parameters: Any) -> bool:
    row = await database.read(lambda c: statement.row(c, caller.rights, **parameters))
    assert row is not None
    return bool(row[0])  # NULL, as of an agent that is compared with none, lets no row through
