"""The lists and transfers of projects; their other statements are of every ProjectScopedTable."""

from sqlalchemy import ARRAY, String, Uuid, any_, bindparam, delete, func, insert, select

from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.events.recording import changed_rows, changing_rows
from shared.resources.listing import Lister
from shared.resources.membership import SHOWN
from shared.resources.ordering import by
from shared.resources.project_scoped import new_values
from shared.schema import PROJECT_STATUSES, project_members, projects, users

# Of rows with up to 128 KiB each.
BATCH_SIZE = 101

LIST = Lister(
    projects,
    projects.c,
    filters={
        "statuses": projects.c.status == any_(bindparam("statuses", type_=ARRAY(String))),
        "name_prefix": func.starts_with(projects.c.name, bindparam("name_prefix", type_=String)),
    },
    orders={
        "created_at": by(projects.c.created_at),
        "updated_at": by(projects.c.updated_at),
        "name": by(projects.c.name),
    },
    batch_size=BATCH_SIZE,
    permission=Permission.READ_PROJECT,
    statuses=PROJECT_STATUSES,
)

_user_ids = any_(bindparam("user_ids", type_=ARRAY(Uuid)))
_project_id = bindparam("project_id", type_=Uuid)
LOCK_USERS = Statement(
    "The users, locked against deletion, in the order of their ids.",
    select(users.c.id, users.c.is_active)
    .where(users.c.id == _user_ids)
    .order_by(users.c.id)
    .with_for_update(read=True, key_share=True),
)

TRANSFER = Statement(
    "Makes another user the owner of a project.",
    changing_rows(
        projects,
        "project.transferred",
        select(projects).where(projects.c.id == _project_id),
        new_values(projects, ["owner_id"]),
        shown=projects.c,
    ),
)

DROP_MEMBERS = Statement(
    "Users are no members of a project any more; they may be none already.",
    changed_rows(
        project_members,
        "member.removed",
        delete(project_members)
        .where(project_members.c.project_id == _project_id, project_members.c.user_id == _user_ids)
        .returning(*SHOWN),
        ends=True,
    ),
)

KEEP_AS_MEMBER = Statement(
    "Makes the former owner of a project a member of it.",
    changed_rows(
        project_members,
        "member.added",
        insert(project_members)
        .values(
            {
                name: bindparam(name, type_=project_members.c[name].type)
                for name in ("id", "project_id", "user_id", "role")
            }
        )
        .returning(*SHOWN),
    ),
)
