"""Every statement on API keys."""

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Interval,
    String,
    Uuid,
    and_,
    bindparam,
    case,
    column,
    exists,
    func,
    literal,
    select,
    update,
)

from shared.auth.access import usable
from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.errors import Reason
from shared.events.recording import changing_rows
from shared.resources.listing import Lister
from shared.resources.ordering import by
from shared.resources.project_scoped import PROJECTS, ProjectScopedTable
from shared.schema import agent_api_keys, agents, projects

# Of rows with up to some KiB each.
BATCH_SIZE = 251

# No agent reaches API keys, not even its own.
AGENTS = ProjectScopedTable(
    agents, Reason.AGENT_NOT_FOUND, Permission.ADMINISTER, Permission.ADMINISTER
)
KEYS = ProjectScopedTable(
    agent_api_keys, Reason.API_KEY_NOT_FOUND, Permission.ADMINISTER, Permission.ADMINISTER
)

_keys = agent_api_keys.c
_by_id = _keys.id == bindparam("id", type_=Uuid)
_status = case((and_(_keys.status == "active", ~usable()), "expired"), else_=_keys.status)
# What is shown of a key: never its hash. An expired key is shown so, whatever its row says.
SHOWN = (
    *(shown for shown in _keys if shown.name not in ("api_key_hash", "status")),
    _status.label("status"),
)

CREATE = AGENTS.creating_below(
    "Creates an API key of an agent.",
    _keys.agent_id,
    (
        "id",
        "key_id",
        "api_key_hash",
        "key_prefix",
        "capabilities",
        "scopes",
        "expires_at",
        "created_by_id",
    ),
    SHOWN,
)

LOCK_PARENTS = Statement(
    "Locks the project and the agent of a key against deletion, in the order in which a deletion "
    "locks: a rotation needs them for the new key, and would have locked the old one by then.",
    select(_keys.id)
    .select_from(KEYS.with_project.join(agents, agents.c.id == _keys.agent_id))
    .where(_by_id, KEYS.permits(Permission.ADMINISTER))
    .with_for_update(read=True, key_share=True, of=(projects, agents)),
)

LOCK_HOLDER = Statement(
    "Locks the agent of a key against those who claim tasks for it, before the key is locked.",
    select(_keys.id)
    .select_from(KEYS.with_project.join(agents, agents.c.id == _keys.agent_id))
    .where(_by_id, KEYS.permits(Permission.ADMINISTER))
    .with_for_update(key_share=True, of=agents),
)

END_SOON = Statement(
    "Lets a usable key be so for `grace` only, and answers whether it was. That is decided when "
    "the row is locked, which may be long after the transaction began.",
    changing_rows(
        agent_api_keys,
        "key.rotated",
        select(agent_api_keys).where(_by_id, usable(func.clock_timestamp())),
        {
            "expires_at": func.least(
                _keys.expires_at, func.clock_timestamp() + bindparam("grace", type_=Interval)
            )
        },
    ),
)

_differs = _keys.status != "revoked"
_REVOKED = {"status": literal("revoked")}
REVOKE = Statement(
    "Ends a key for good, unless it has ended so already.",
    changing_rows(
        agent_api_keys,
        "key.revoked",
        select(agent_api_keys).where(_by_id, _differs),
        _REVOKED,
        shown=SHOWN,
    ),
)


def _lock_agents(purpose: str, *conditions: ColumnElement[bool]) -> Statement:
    return Statement(
        purpose,
        select(agents.c.id)
        .select_from(AGENTS.with_project)
        .where(AGENTS.permits(Permission.ADMINISTER), *conditions)
        .order_by(agents.c.id)
        .with_for_update(key_share=True, of=(projects, agents)),
    )


_of_id = bindparam("id", type_=Uuid)
_has_keys = exists().where(_keys.project_id == agents.c.project_id, _keys.agent_id == agents.c.id)
LOCK_AGENT = _lock_agents(
    "Locks an agent, against claims too, and its project, before its keys are locked.",
    agents.c.id == _of_id,
)
LOCK_AGENTS = _lock_agents(
    "Locks a project, and against claims too those of its agents that have keys, before these are "
    "locked.",
    projects.c.id == _of_id,
    _has_keys,
)


def _revoke_all(purpose: str, table: ProjectScopedTable) -> Statement:
    rows, is_of_agent = table.table, table is AGENTS
    found = (
        select(rows.c.id, projects.c.id.label("project_id"))
        .select_from(table.with_project)
        .where(rows.c.id == _of_id, table.permits(Permission.ADMINISTER))
        .cte("found")
    )
    of_found = [_keys.project_id == select(found.c.project_id).scalar_subquery()]
    if is_of_agent:
        of_found.append(_keys.agent_id == select(found.c.id).scalar_subquery())
    # Locked in one order, so that two revocations at once wait for each other in that order.
    revoked = select(agent_api_keys).where(*of_found, _differs).order_by(_keys.id).with_for_update()
    return Statement(purpose, changing_rows(agent_api_keys, "key.revoked", revoked, _REVOKED))


REVOKE_ALL_OF_AGENT = _revoke_all("Ends all keys of an agent for good.", AGENTS)
REVOKE_ALL_OF_PROJECT = _revoke_all("Ends all keys of the agents of a project for good.", PROJECTS)

_asked = select(bindparam("key_id", type_=String).label("key_id")).subquery("asked")
FIND = Statement(
    "The key with a key id, whether it can prove now who its agent is, and the database's time. "
    "It answers a row also if there is no such key, so that this takes about as long.",
    select(
        _keys.id,
        _keys.agent_id,
        _keys.project_id,
        _keys.api_key_hash,
        _keys.capabilities,
        _keys.expires_at,
        and_(usable(), agents.c.is_active).label("usable"),
        func.now().label("now"),
    ).select_from(
        _asked.outerjoin(agent_api_keys, _keys.key_id == _asked.c.key_id).outerjoin(
            agents, agents.c.id == _keys.agent_id
        )
    ),
)

_uses = (
    func.unnest(
        bindparam("ids", type_=ARRAY(Uuid)),
        bindparam("times", type_=ARRAY(DateTime(timezone=True))),
    )
    .table_valued(column("id", Uuid), column("at", DateTime(timezone=True)))
    .render_derived("uses")
)
# Locked in one order, so that two processes that write at once wait for each other in that order.
_used = (
    select(_keys.id, _uses.c.at)
    .select_from(agent_api_keys.join(_uses, _uses.c.id == _keys.id))
    .order_by(_keys.id)
    .with_for_update(key_share=True, of=agent_api_keys)
    .cte("used")
)
WRITE_LAST_USED = Statement(
    "Writes when keys were last used, unless a later use is known. It is no change of the key.",
    update(agent_api_keys)
    .where(_keys.id == _used.c.id)
    .values(last_used_at=func.greatest(_keys.last_used_at, _used.c.at)),
)

_project_of_agent = (
    select(agents.c.project_id)
    .where(agents.c.id == bindparam("agent_id", type_=Uuid))
    .scalar_subquery()
)
LIST = Lister(
    agent_api_keys,
    SHOWN,
    filters={
        # The project is said for the index, which begins with it.
        "agent_id": and_(
            _keys.agent_id == bindparam("agent_id", type_=Uuid),
            _keys.project_id == _project_of_agent,
        )
    },
    orders={"created_at": by(_keys.created_at)},
    batch_size=BATCH_SIZE,
    permission=Permission.ADMINISTER,
    project_of={"agent_id": _project_of_agent},
)
