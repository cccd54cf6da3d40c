"""Every statement on members."""

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    String,
    Uuid,
    and_,
    any_,
    bindparam,
    not_,
    select,
)

from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.errors import Reason
from shared.events.recording import Change
from shared.resources.listing import Lister
from shared.resources.membership import SHOWN, locked
from shared.resources.ordering import by
from shared.resources.pagination import MAXIMUM_PAGE_SIZE
from shared.resources.project_scoped import PROJECTS, ProjectScopedTable
from shared.schema import project_members, projects, users

_members = project_members.c
_project_id = bindparam("project_id", type_=Uuid)
_user_id = bindparam("user_id", type_=Uuid)

MEMBERS = ProjectScopedTable(
    project_members,
    Reason.MEMBER_NOT_FOUND,
    Permission.READ_PROJECT,
    Permission.ADMINISTER,
    shown=SHOWN[len(project_members.c) :],
)


@lru_cache(maxsize=8)
def create(names: frozenset[str]) -> Change:
    """Creates a member with these columns."""

    def is_new(project_id: ColumnElement[Any]) -> ColumnElement[bool]:
        user = locked(_user_id, project_id)
        return and_(user.is_active, not_(user.is_owner))

    return MEMBERS.creating(
        "Creates one member, if the user is active and does not own the project.", names, is_new
    )


@lru_cache(maxsize=8)
def lock(permission: Permission) -> Statement:
    """Locks a member, if the caller has the permission for the project."""
    permitted = (
        select(projects.c.id)
        .where(projects.c.id == _project_id, PROJECTS.permits(permission))
        .scalar_subquery()
    )
    return Statement(
        "One member, locked after the user and the project, if the caller may.",
        select(_members.id, _members.project_id, _members.user_id, _members.revision)
        .where(
            _members.project_id == permitted,
            _members.user_id == _user_id,
            locked(_user_id, permitted).has_project,
        )
        .with_for_update(),
    )


FIND = Statement(
    "A project, and the id of a user's membership in it.",
    select(*PROJECTS.decisive, projects.c.id, _members.id.label("member_id"))
    .select_from(
        projects.outerjoin(
            project_members,
            and_(_members.project_id == projects.c.id, _members.user_id == _user_id),
        )
    )
    .where(projects.c.id == _project_id),
)

OWNER = Statement(
    "The owner of a project, and whether a user is active.",
    select(projects.c.owner_id, users.c.is_active)
    .select_from(projects.outerjoin(users, users.c.id == _user_id))
    .where(projects.c.id == _project_id),
)

LIST = Lister(
    project_members,
    SHOWN,
    filters={
        "project_id": _members.project_id == _project_id,
        "roles": _members.role == any_(bindparam("roles", type_=ARRAY(String))),
    },
    orders={"created_at": by(_members.created_at)},
    batch_size=MAXIMUM_PAGE_SIZE + 1,
    permission=Permission.READ_PROJECT,
    project_of={"project_id": _project_id},
)
