"""The lists of projects; their other statements are those of every ProjectScopedTable."""

from sqlalchemy import ARRAY, String, any_, bindparam, func

from shared.auth.permissions import Permission
from shared.resources.listing import Lister
from shared.resources.ordering import by
from shared.schema import PROJECT_STATUSES, projects

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
