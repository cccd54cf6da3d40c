"""Every statement on users."""

from functools import lru_cache

from sqlalchemy import (
    Boolean,
    ColumnElement,
    String,
    Text,
    Uuid,
    bindparam,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
)

from agent_service.queries import STOPPED
from shared.auth.access import RIGHTS
from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.dependents.queries import CONCERNED
from shared.errors import IDS_NAMED
from shared.events.recording import Change, changed_rows, changing_rows, told
from shared.resources.listing import Lister
from shared.resources.membership import SHOWN
from shared.resources.ordering import by
from shared.resources.project_scoped import new_values
from shared.schema import chat_participants, project_members, projects, tasks, users

# Of rows with at most some KiB each.
BATCH_SIZE = 1001

_id = bindparam("id", type_=Uuid)
_this_one = users.c.id == _id

GET = Statement("One user.", select(*users.c).where(_this_one))

_value = func.lower(bindparam("value", type_=Text))
BY_USERNAME = Statement(
    "The user with this name, whatever the case of the letters.",
    select(*users.c).where(func.lower(users.c.username) == _value),
)
BY_EMAIL = Statement(
    "The user with this email address, whatever the case of the letters.",
    select(*users.c).where(func.lower(users.c.email) == _value),
)

LOCK_TO_UPDATE = Statement(
    "One user, locked. Rows that refer to it can be created meanwhile.",
    select(*users.c).where(_this_one).with_for_update(key_share=True),
)
LOCK_TO_DELETE = Statement(
    "One user, locked. What refers to it is not created until the end of the transaction.",
    select(*users.c).where(_this_one).with_for_update(),
)


def _is_active_superuser(row: str) -> ColumnElement[bool]:
    of = users.alias(row)
    return exists().where(of.c.id == _id, of.c.is_active, of.c.is_superuser)


LOCK_SUPERUSERS = Statement(
    "If the user is an active superuser: the first two of them, locked. Whoever removes one keeps "
    "another one locked, which so stays one.",
    select(users.c.id)
    .where(users.c.is_active, users.c.is_superuser, _is_active_superuser("removed"))
    .order_by(users.c.id)
    .limit(2)
    .with_for_update(of=users, key_share=True),
)


@lru_cache(maxsize=64)
def insert_columns(names: frozenset[str]) -> Change:
    """Creates a user with these columns."""
    values = {name: bindparam(name, type_=users.c[name].type) for name in sorted(names)}
    created = insert(users).values(**values).returning(*users.c).cte("created")
    told_rows = select(*told(users, "user.created", created)).cte("told")
    return Change("Creates one user.", list(created.c), created, told_rows)


@lru_cache(maxsize=64)
def update_columns(names: frozenset[str]) -> Statement:
    """Changes these columns of a user."""
    rows, values = select(users).where(_this_one), new_values(users, sorted(names))
    return Statement(
        "Changes these columns of one user.",
        changing_rows(users, "user.updated", rows, values, shown=users.c),
    )


DELETE = Statement(
    "Deletes a user, and what its foreign keys delete with it.",
    changed_rows(
        users, "user.deleted", delete(users).where(_this_one).returning(*users.c), ends=True
    ),
)

OWNED = Statement(
    "The first of the projects that a user owns, each with how many there are.",
    select(projects.c.id, func.count().over().label("total"))
    .where(projects.c.owner_id == _id)
    .order_by(projects.c.id)
    .limit(IDS_NAMED),
)

_members = (
    select(project_members.c.id)
    .where(project_members.c.user_id == _id)
    .order_by(project_members.c.id)
    .with_for_update()
    .cte("members")
)
DELETE_MEMBERSHIPS = Statement(
    "Takes a user out of the projects of which it is a member.",
    changed_rows(
        project_members,
        "member.removed",
        delete(project_members)
        .where(project_members.c.id.in_(select(_members.c.id)))
        .returning(*SHOWN),
        ends=True,
    ),
)

_seats = (
    select(chat_participants.c.id)
    .where(chat_participants.c.user_id == _id)
    .order_by(chat_participants.c.id)
    .with_for_update()
    .cte("seats")
)
LEAVE_ROOMS = Statement(
    "Takes a user out of the rooms of all projects.",
    changed_rows(
        chat_participants,
        "participant.removed",
        delete(chat_participants)
        .where(chat_participants.c.id.in_(select(_seats.c.id)))
        .returning(*chat_participants.c),
        ends=True,
    ),
)

# Those that it has created, too: the deletion changes them, and would lock them in any order.
_tasks = (
    select(tasks)
    .where(or_(tasks.c.assigned_user_id == _id, tasks.c.created_by == _id))
    .order_by(tasks.c.id)
    .with_for_update(key_share=True)
)
DETACH_TASKS = Statement(
    "Unassigns the tasks of a user in every project; those that it was working on are pending "
    "again. Its foreign key would unassign them too, but leave their revisions alone.",
    changing_rows(
        tasks,
        "task.unassigned",
        _tasks,
        {"assigned_user_id": null(), **STOPPED},
        tasks.c.assigned_user_id == _id,
        shown=CONCERNED,
    ),
)

LIST = Lister(
    users,
    users.c,
    filters={
        "username_prefix": func.starts_with(
            users.c.username, bindparam("username_prefix", type_=String)
        ),
        "is_active": users.c.is_active == bindparam("is_active", type_=Boolean),
        "is_superuser": users.c.is_superuser == bindparam("is_superuser", type_=Boolean),
    },
    orders={"created_at": by(users.c.created_at), "username": by(users.c.username)},
    batch_size=BATCH_SIZE,
    # Of no project, so that only superusers are shown more than themselves.
    permission=Permission.OWN,
    own=users.c.id == RIGHTS["caller_id"],
)
