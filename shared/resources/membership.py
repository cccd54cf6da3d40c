"""Users who are the owner or a member of a project: only they are assigned tasks and join rooms.

A statement that assigns or seats a user locks what makes the user one of them until the end of the
transaction, so that a removal or a transfer either comes before, or waits and then finds the task
or the participant. All lock in this order: users, the project, its members, then tasks and rooms.
"""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Uuid, bindparam, exists, literal_column, or_, select

from shared.database.pool import Connection
from shared.database.statement import Statement
from shared.errors import Refusal, conflict
from shared.resources.locking import after, key_share
from shared.schema import project_members, projects, users


def is_of_project(
    user_id: ColumnElement[Any], project_id: ColumnElement[Any], owner_id: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Whether a user is the owner or a member of a project."""
    members = project_members.c
    member = exists().where(members.project_id == project_id, members.user_id == user_id)
    return or_(owner_id == user_id, member.correlate_except(project_members))


# What is shown of a member. Its user as text, because SQLAlchemy would read the table again in what
# an INSERT returns.
_of_member = literal_column("project_members.user_id", Uuid)
_username = select(users.c.username).where(users.c.id == _of_member).scalar_subquery()
SHOWN = (*project_members.c, _username.label("username"))


class Locked(NamedTuple):
    """A user, a project, and the user's membership in it, locked in this order if they exist.

    Nothing is found, nor locked, without a project.
    """

    user: CTE
    project: CTE
    member: CTE
    user_id: ColumnElement[Any]

    @property
    def has_project(self) -> ColumnElement[bool]:
        """Always true; but user and project are locked before what is found with it."""
        return after(self.project)

    @property
    def is_active(self) -> ColumnElement[bool]:
        """Whether the user exists and is active."""
        return exists().where(self.user.c.is_active)

    @property
    def is_owner(self) -> ColumnElement[bool]:
        """Whether the user owns the project."""
        return exists().where(self.project.c.owner_id == self.user_id)

    @property
    def is_of_project(self) -> ColumnElement[bool]:
        """Whether the user is the owner or a member of the project."""
        return or_(self.is_owner, exists().select_from(self.member))


def locked(user_id: ColumnElement[Any], project_id: ColumnElement[Any]) -> Locked:
    """A user and a project; no project if `project_id` is NULL."""
    members = project_members.c
    user = select(users.c.id, users.c.is_active).where(
        users.c.id == user_id, project_id.is_not(None)
    )
    user_cte = key_share(user, "locked_user")
    project = select(projects.c.owner_id).where(projects.c.id == project_id, after(user_cte))
    project_cte = key_share(project, "locked_project")
    member = select(members.id).where(
        members.project_id == project_id, members.user_id == user_id, after(project_cte)
    )
    return Locked(user_cte, project_cte, key_share(member, "locked_member"), user_id)


_user_id, _project_id = bindparam("user_id", type_=Uuid), bindparam("project_id", type_=Uuid)
IS_OF_PROJECT = Statement(
    "Whether an active user is the owner or a member of a project.",
    select(
        exists().where(
            users.c.id == _user_id,
            users.c.is_active,
            projects.c.id == _project_id,
            is_of_project(_user_id, projects.c.id, projects.c.owner_id),
        )
    ),
)


async def unless_of_project(
    connection: Connection, project_id: UUID, user_id: UUID, refusal: Refusal
) -> Refusal:
    """The refusal of a user who is neither owner nor member, or not active.

    It is CONFLICT if the user is by now: a statement that waits for the end of a transfer still
    sees only the members from before.
    """
    row = await IS_OF_PROJECT.row(connection, project_id=project_id, user_id=user_id)
    return conflict() if row and row[0] else refusal
