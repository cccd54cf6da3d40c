"""Every statement on projects."""

from functools import lru_cache

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    String,
    Uuid,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    tuple_,
    update,
)

from shared.auth.access import visible
from shared.database.statement import Statement
from shared.resources.listing import Lister
from shared.resources.project_scoped import new_values
from shared.schema import projects

# Of rows with up to 128 KiB each.
PORTION = 101

_by_id = projects.c.id == bindparam("id", type_=Uuid)

# A project.
GET = Statement(select(*projects.c).where(_by_id))

# Holds a project until the end of the transaction.
LOCK = Statement(select(*projects.c).where(_by_id).with_for_update())

# Creates a project.
CREATE = Statement(
    insert(projects)
    .values(
        **{
            name: bindparam(name, type_=projects.c[name].type)
            for name in ("id", "owner_id", "slug", "name", "description", "settings")
        }
    )
    .returning(*projects.c)
)

# Deletes a project; all that is in it goes with it by its foreign keys.
DELETE = Statement(delete(projects).where(_by_id))

_target = select(*projects.c).where(_by_id).with_for_update().cte("target")


@lru_cache(maxsize=128)
def update_fields(names: frozenset[str]) -> Statement:
    """Changes these columns where the caller may and the revision matches (0: any).

    Answers `found_owner_id` and `found_revision`, and the row as it is afterwards, all NULL where
    it was not changed. No row: no such project.
    """
    values = new_values(projects, sorted(names))
    old = tuple_(*(projects.c[name] for name in values))
    news = old.is_distinct_from(tuple_(*values.values())) if values else ~true()
    revision = bindparam("revision", type_=BigInteger)
    updated = (
        update(projects)
        .values(
            **values,
            revision=projects.c.revision + case((news, 1), else_=0),
            updated_at=case((news, func.now()), else_=projects.c.updated_at),
        )
        .where(
            projects.c.id == _target.c.id,
            visible(_target.c.owner_id),
            or_(revision == 0, _target.c.revision == revision),
        )
        .returning(*projects.c)
        .cte("updated")
    )
    return Statement(
        select(
            _target.c.owner_id.label("found_owner_id"),
            _target.c.revision.label("found_revision"),
            *updated.c,
        ).select_from(_target.outerjoin(updated, true()))
    )


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
    weight=lambda row: len(row["description"] or "") + len(orjson.dumps(row["settings"])),
    portion=PORTION,
)
