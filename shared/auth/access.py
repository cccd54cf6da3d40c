"""Whether a caller may do something with a row: the same rule decides in SQL and in Python.

A statement decides by it; Python says by the same one why a statement has refused. What counts is
the caller's role in the row's project, whether the row is the caller's own, and, for an agent, its
scopes in its project.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    String,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    union_all,
)

from shared.auth.caller import Agent, Caller, User
from shared.auth.permissions import SCOPED, Access, Permission, Role, Rule
from shared.errors import (
    Reason,
    Refusal,
    enum_name,
    insufficient_role,
    not_allowed_for_agent,
    scope_missing,
    superuser_required,
)
from shared.schema import agent_api_keys, project_members, projects

ACTIVE = "active"
# The parameters that a caller's rights offer to every statement; see Caller.rights.
RIGHTS: Mapping[str, Any] = {
    "superuser": bindparam("superuser", type_=Boolean),
    "caller_id": bindparam("caller_id", type_=Uuid),
    "caller_agent_id": bindparam("caller_agent_id", type_=Uuid),
    **{each.parameter: bindparam(each.parameter, type_=Uuid) for each in SCOPED},
}


class Reach(Enum):
    """Which rows a list shows a caller: all, those of some projects, or the caller's own."""

    ALL = auto()
    PROJECTS = auto()
    OWN = auto()


class Standing(NamedTuple):
    """What a caller is to a row: the role in its project, if any, and whether it is its own."""

    project_id: UUID
    role: str | None
    is_own: bool


def reach(caller: Caller, permission: Permission) -> Reach:
    """Which rows a list shows a caller who reads with this permission."""
    if isinstance(caller, User):
        return Reach.ALL if caller.is_superuser else Reach.PROJECTS
    return Reach.PROJECTS if permits(caller, permission) else Reach.OWN


def permits(caller: Caller, permission: Permission) -> bool:
    """Whether the scopes of an agent permit it in its project."""
    return isinstance(caller, Agent) and bool(permission.scopes & caller.scopes)


def role_in(project_id: ColumnElement[Any], owner_id: ColumnElement[Any]) -> ColumnElement[str]:
    """The role of the caller in a project; NULL without one. Members are looked up for others
    than the owner only."""
    caller_id = RIGHTS["caller_id"]
    members = project_members.c
    member = (
        select(members.role)
        .where(members.project_id == project_id, members.user_id == caller_id)
        .correlate_except(project_members)
        .scalar_subquery()
    )
    owner = cast(literal(Role.OWNER.name.lower()), String)
    return case((owner_id == caller_id, owner), else_=member)


def allowed(
    permission: Permission,
    project_id: ColumnElement[Any],
    role: ColumnElement[str],
    own: ColumnElement[bool] | None = None,
) -> ColumnElement[bool]:
    """Whether the caller may do it with a row, as a condition of a statement.

    `role` is what `role_in` says of the row's project, `own` whether the row is the caller's own.
    """
    conditions = [RIGHTS["superuser"], role.in_(permission.roles)]
    if permission.own_suffices and own is not None:
        conditions.append(own)
    if permission.scopes:
        conditions.append(project_id == RIGHTS[permission.parameter])
    return or_(*conditions)


def reached_projects(permission: Permission) -> Select[Any]:
    """The ids of the projects in which a caller that is no superuser may do it, as a column id."""
    owned = select(projects.c.id).where(projects.c.owner_id == RIGHTS["caller_id"])
    return select(union_all(owned, joined_projects(permission)).subquery("reached").c.id)


def joined_projects(permission: Permission) -> Select[Any]:
    """The same without those that the caller owns."""
    members, caller_id = project_members.c, RIGHTS["caller_id"]
    joined = (
        select(projects.c.id)
        .select_from(projects.join(project_members, members.project_id == projects.c.id))
        # An owner is no member; if one were, the project would be reached twice.
        .where(
            members.user_id == caller_id,
            members.role.in_(permission.roles),
            projects.c.owner_id != caller_id,
        )
    )
    if not permission.scopes:
        return joined
    scoped = select(projects.c.id).where(projects.c.id == RIGHTS[permission.parameter])
    return select(union_all(joined, scoped).subquery("joined").c.id)


def may(caller: Caller, permission: Permission, standing: Standing) -> bool:
    """Whether the caller may do it with a row to which it has this standing."""
    if permission.own_suffices and standing.is_own:
        return True
    if isinstance(caller, User):
        return caller.is_superuser or standing.role in permission.roles
    assert isinstance(caller, Agent)
    return permits(caller, permission) and standing.project_id == caller.project_id


def require(
    caller: Caller, permission: Permission, standing: Standing, *, named: bool = False
) -> None:
    """Raise a Refusal unless the caller may do it with a row.

    It is NOT_PROJECT_OWNER or INSUFFICIENT_ROLE for a user, NOT_ALLOWED_FOR_AGENT or SCOPE_MISSING
    for an agent. The project is repeated to the caller if the caller has named it.
    """
    if may(caller, permission, standing):
        return
    if isinstance(caller, Agent):
        is_its_project = standing.project_id == caller.project_id
        raise _not_permitted(permission) if is_its_project else not_allowed_for_agent()
    if standing.role is not None:
        raise insufficient_role(standing.role, permission.role.name.lower())
    metadata = {"project_id": str(standing.project_id)} if named else {}
    message = "You have no role in the project."
    raise Refusal(Reason.NOT_PROJECT_OWNER, message, metadata)


def require_open_to(caller: Caller, rule: Rule) -> None:
    """Raise a Refusal if the rule of a method lets the caller call it for no row at all."""
    if isinstance(caller, User):
        if rule is Access.SUPERUSER and not caller.is_superuser:
            raise superuser_required()
    elif isinstance(rule, Permission):
        if not (rule.own_suffices or permits(caller, rule)):
            raise _not_permitted(rule)
    elif rule is not Access.USER_OR_AGENT:
        raise not_allowed_for_agent()


def _not_permitted(permission: Permission) -> Refusal:
    """The refusal of an agent in its own project."""
    if not permission.scopes:
        return not_allowed_for_agent()
    return scope_missing(scope.value for scope in permission.scopes)


def usable(at: ColumnElement[Any] | None = None) -> ColumnElement[bool]:
    """Whether an API key can prove who an agent is, when the transaction began or `at` a time."""
    keys = agent_api_keys.c
    ends_later = keys.expires_at > (func.now() if at is None else at)
    return and_(keys.status == "active", or_(keys.expires_at.is_(None), ends_later))


def require_active(project_id: UUID, status: str) -> None:
    """Raise Refusal(PROJECT_NOT_ACTIVE) unless what is in the project can be changed."""
    if status != ACTIVE:
        raise Refusal(
            Reason.PROJECT_NOT_ACTIVE,
            f"The project is {status}; what is in it cannot be changed.",
            metadata={"project_id": str(project_id), "status": enum_name("PROJECT_STATUS", status)},
        )
