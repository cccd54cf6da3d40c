"""What a caller may do is the same in SQL, in Python and in the reach of a list."""

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Boolean, String, Uuid, bindparam, select

from shared.auth.access import (
    Reach,
    Standing,
    allowed,
    may,
    reach,
    reached_projects,
    require_open_to,
    role_in,
)
from shared.auth.caller import Agent, Caller, User
from shared.auth.permissions import Access, Permission, Role, Scope, in_words
from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.errors import Reason, Refusal
from shared.schema import projects
from tandem.agent.v1.project_service_pb2 import (
    DeleteProjectRequest,
    ListProjectsRequest,
    Project,
    UpdateProjectRequest,
)
from tests.world import World

ALICE, SCOUT, PROJECT, OTHER_PROJECT = (UUID(int=number) for number in range(1, 5))
ROLES = (None, "viewer", "editor", "admin", "owner")

_project = bindparam("project", type_=Uuid)
_role, _own = bindparam("role", type_=String), bindparam("own", type_=Boolean)
ALLOWED = {
    permission: Statement(
        f"Whether {permission.name} is allowed.",
        select(allowed(permission, _project, _role, _own)),
    )
    for permission in Permission
}


@dataclass(frozen=True)
class Case:
    """A caller and its standing, and everything that it may do then."""

    caller: Caller
    standing: Standing
    may: set[Permission]


def user(*, superuser: bool = False) -> User:
    return User(ALICE, "user", "user@example.com", None, superuser)


def agent(*scopes: Scope) -> Agent:
    return Agent(SCOUT, "agent", PROJECT, [], frozenset(scopes))


P = Permission
OWN = {P.READ_AGENTS, P.READ_TASKS, P.READ_ROOMS, P.READ_EVENTS}
VIEW = OWN | {P.LIST_ROOMS, P.READ_PROJECT, P.CHECK_TASKS}
OWN |= {P.MOVE_TASKS, P.LEAVE_ROOMS, P.SET_AGENT_STATUS}
EDIT = VIEW | {P.CREATE_TASKS, P.MANAGE_TASKS, P.MOVE_TASKS, P.MANAGE_ROOMS, P.LEAVE_ROOMS}
EDIT |= {P.SET_AGENT_STATUS}
ADMINISTER = EDIT | {P.ADMINISTER, P.CLAIM_TASKS}
EVERYTHING = {*Permission}
HERE, ELSEWHERE = (Standing(project, None, is_own=False) for project in (PROJECT, OTHER_PROJECT))

CASES = [
    Case(user(), HERE, set()),
    Case(user(), HERE._replace(is_own=True), OWN),
    Case(user(), HERE._replace(role="viewer"), VIEW),
    Case(user(), HERE._replace(role="viewer", is_own=True), VIEW | OWN),
    Case(user(), HERE._replace(role="editor"), EDIT),
    Case(user(), HERE._replace(role="admin"), ADMINISTER),
    Case(user(), HERE._replace(role="owner"), EVERYTHING),
    Case(user(superuser=True), HERE, EVERYTHING),
    Case(agent(), HERE, set()),
    Case(agent(), HERE._replace(is_own=True), OWN),
    Case(agent(Scope.CLAIM_TASKS), HERE, {P.CLAIM_TASKS}),
    Case(agent(Scope.READ_PROJECT), HERE, VIEW),
    Case(agent(Scope.CREATE_TASKS), HERE, {P.CREATE_TASKS}),
    Case(
        agent(Scope.MANAGE_TASKS),
        HERE,
        {P.READ_TASKS, P.CHECK_TASKS, P.CREATE_TASKS, P.MANAGE_TASKS, P.MOVE_TASKS},
    ),
    Case(
        agent(Scope.MANAGE_ROOMS), HERE, {P.LIST_ROOMS, P.READ_ROOMS, P.MANAGE_ROOMS, P.LEAVE_ROOMS}
    ),
    Case(agent(*Scope), HERE, EDIT - {P.SET_AGENT_STATUS} | {P.CLAIM_TASKS}),
    Case(agent(*Scope), ELSEWHERE, set()),
    Case(agent(*Scope), ELSEWHERE._replace(is_own=True), OWN),
]


@pytest.mark.parametrize("case", CASES)
async def test_sql_and_python_say_the_same(database: Database, case: Case) -> None:
    assert {p for p in Permission if may(case.caller, p, case.standing)} == case.may
    given: dict[str, Any] = {"project": case.standing.project_id}
    given |= {"role": case.standing.role, "own": case.standing.is_own}
    for permission, statement in ALLOWED.items():
        named = {name: given[name] for name in given if name in statement.names}
        row = await says(database, statement, case.caller, **named)
        assert bool(row) is (permission in case.may), permission


@pytest.mark.parametrize("case", CASES)
def test_a_list_shows_what_may_be_read(case: Case) -> None:
    """All rows, or those of projects that the caller has a role or a scope in, or its own."""
    for permission in (P.READ_AGENTS, P.READ_TASKS, P.READ_ROOMS, P.READ_PROJECT):
        everywhere = may(case.caller, permission, ELSEWHERE)
        is_user = isinstance(case.caller, User)
        shown = Reach.ALL if everywhere else Reach.PROJECTS
        if not is_user and not may(case.caller, permission, HERE):
            shown = Reach.OWN
        assert reach(case.caller, permission) is shown


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_is_found_and_opens_a_project(world: World, role: str | None) -> None:
    alice, caller = await world.user(), await world.user()
    owner = caller if role == "owner" else alice
    project = UUID((await owner.project()).id)
    await alice.project()
    if role in ("viewer", "editor", "admin"):
        await world.member(project, caller, role)
    called = User(caller.id, "user", "user@example.com", None, is_superuser=False)
    statement = Statement(
        "The caller's role.",
        select(role_in(projects.c.id, projects.c.owner_id)).where(projects.c.id == _project),
    )
    assert await says(world.database, statement, called, project=project) == role
    for permission in Permission:
        reached = Statement("The projects.", reached_projects(permission))
        rows = await world.database.read(partial(reached.rows, offered=called.rights))
        is_enough = role is not None and Role[role.upper()] >= permission.role
        assert [row["id"] for row in rows] == ([project] if is_enough else []), permission


async def test_an_owner_who_is_a_member_too_is_the_owner(world: World) -> None:
    """No call makes an owner a member; but rows can be written past the services."""
    alice = await world.user()
    project = await alice.project()
    await world.member(project.id, alice, "viewer")
    assert list((await alice.projects.ListProjects(ListProjectsRequest())).projects) == [project]
    await alice.projects.UpdateProject(
        UpdateProjectRequest(project=Project(id=project.id, name="Other"))
    )
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))


async def test_scopes_open_the_project_of_the_agent(world: World) -> None:
    alice = await world.user()
    project = UUID((await alice.project()).id)
    await alice.project()
    for permission in Permission:
        caller = Agent(SCOUT, "agent", project, [], frozenset(permission.scopes))
        statement = Statement("The projects.", reached_projects(permission))
        rows = await world.database.read(partial(statement.rows, offered=caller.rights))
        assert [row["id"] for row in rows] == ([project] if permission.scopes else [])


def test_a_method_is_open_to_agents_that_may_do_it_with_some_row() -> None:
    every = frozenset(Scope)
    for permission in Permission:
        refused = _refusal(agent(), permission)
        if permission.own_suffices:
            assert refused is None
        else:
            missing = Reason.SCOPE_MISSING if permission.scopes else Reason.NOT_ALLOWED_FOR_AGENT
            assert refused is missing
        some = permission.own_suffices or permission.scopes
        assert _refusal(agent(*every), permission) is (
            None if some else Reason.NOT_ALLOWED_FOR_AGENT
        )
    assert _refusal(agent(*every), Access.USER) is Reason.NOT_ALLOWED_FOR_AGENT
    assert _refusal(agent(*every), Access.SUPERUSER) is Reason.NOT_ALLOWED_FOR_AGENT
    assert _refusal(agent(), Access.USER_OR_AGENT) is None


def test_a_method_for_superusers_is_open_to_them_only() -> None:
    assert _refusal(user(), Access.SUPERUSER) is Reason.INSUFFICIENT_ROLE
    assert _refusal(user(superuser=True), Access.SUPERUSER) is None
    assert _refusal(user(), Access.USER) is None


def _refusal(caller: Caller, rule: Access | Permission) -> Reason | None:
    try:
        require_open_to(caller, rule)
    except Refusal as refusal:
        return refusal.reason
    return None


async def says(database: Database, statement: Statement, caller: Caller, **parameters: Any) -> Any:
    row = await database.read(lambda c: statement.row(c, caller.rights, **parameters))
    assert row is not None
    return row[0]  # NULL, as of an agent that is compared with none, lets no row through


def test_a_rule_is_said_in_words() -> None:
    assert in_words(Access.USER_OR_AGENT) == "user or agent"
    assert in_words(Permission.ADMINISTER) == "admin"
    assert in_words(Permission.SET_AGENT_STATUS) == "editor; or its own"
    assert in_words(Permission.MANAGE_TASKS) == "editor; scope manage_tasks"
