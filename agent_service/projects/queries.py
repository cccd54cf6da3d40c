"""The lists of projects; their other statements are those of every ProjectScopedTable."""

from sqlalchemy import ARRAY, String, any_, bindparam, func, select

from shared.resources.listing import Lister
from shared.schema import projects

# Of rows with up to 128 KiB each.
BATCH_SIZE = 101

LIST = Lister(
    select(*projects.c),
    projects.c.id,
    filters={
        "statuses": projects.c.status == any_(bindparam("statuses", type_=ARRAY(String))),
        "name_prefix": func.starts_with(projects.c.name, bindparam("name_prefix", type_=String)),
    },
    orders={
        "created_at": projects.c.created_at,
        "updated_at": projects.c.updated_at,
        "name": projects.c.name,
    },
    batch_size=BATCH_SIZE,
)
