"""Every statement on API keys."""

import orjson
from sqlalchemy import (
    ARRAY,
    DateTime,
    Interval,
    String,
    Uuid,
    and_,
    bindparam,
    case,
    column,
    func,
    insert,
    select,
    true,
    update,
)

from shared.auth.access import usable, writable
from shared.database.statement import Statement
from shared.errors import Reason
from shared.resources.listing import Lister
from shared.resources.project_scoped import Owned, found
from shared.schema import agent_api_keys, agents, projects

# Of rows with up to some KiB each.
PORTION = 251

# No agent reaches API keys, not even its own.
AGENTS = Owned(agents, Reason.AGENT_NOT_FOUND)
KEYS = Owned(agent_api_keys, Reason.API_KEY_NOT_FOUND)

_keys = agent_api_keys.c
_status = case((and_(_keys.status == "active", ~usable()), "expired"), else_=_keys.status)
# What is shown of a key: never its hash. One whose time is over is expired, whatever its row says.
SHOWN = (
    *(shown for shown in _keys if shown.name not in ("api_key_hash", "status")),
    _status.label("status"),
)

_agent = AGENTS.parent("of_agent")
_given = (
    "id",
    "key_id",
    "api_key_hash",
    "key_prefix",
    "capabilities",
    "expires_at",
    "created_by_id",
)
_created = (
    insert(agent_api_keys)
    .from_select(
        ["project_id", "agent_id", *_given],
        select(
            _agent.c.project_id,
            _agent.c.id,
            *(bindparam(name, type_=_keys[name].type) for name in _given),
        ).where(writable(_agent.c.owner_id, _agent.c.project_status)),
    )
    .returning(*SHOWN)
    .cte("created")
)
# Creates a key of the agent `of_agent`, where the caller may. Answers as Owned.update does.
CREATE = Statement(
    select(*found(_agent), *_created.c).select_from(_agent.outerjoin(_created, true()))
)

# Holds the project and the agent of a key against deletion, in the order in which a deletion locks:
# a rotation needs them for the new key, and would have locked the old one by then.
HOLD = Statement(
    select(_keys.id)
    .select_from(KEYS.with_project.join(agents, agents.c.id == _keys.agent_id))
    .where(_keys.id == bindparam("id", type_=Uuid))
    .with_for_update(read=True, key_share=True, of=(projects, agents))
)

# Lets a key that is usable be so for `grace` only, and answers whether it was. It is usable or not
# when the row is locked, which may be long after the transaction began.
END_SOON = Statement(
    update(agent_api_keys)
    .where(_keys.id == bindparam("id", type_=Uuid), usable(func.clock_timestamp()))
    .values(
        expires_at=func.least(
            _keys.expires_at, func.clock_timestamp() + bindparam("grace", type_=Interval)
        ),
        revision=_keys.revision + 1,
        updated_at=func.now(),
    )
    .returning(_keys.id)
)

_news = _keys.status != "revoked"
# Ends a key for good, or leaves it as it is where it has ended so already.
REVOKE = Statement(
    update(agent_api_keys)
    .where(_keys.id == bindparam("id", type_=Uuid))
    .values(
        status="revoked",
        revision=_keys.revision + case((_news, 1), else_=0),
        updated_at=case((_news, func.now()), else_=_keys.updated_at),
    )
    .returning(*SHOWN)
)

_asked = select(bindparam("key_id", type_=String).label("key_id")).subquery("asked")
# The key with a key id, whether it can prove now who its agent is, and the database's time. It
# answers a row also where there is no such key, so that this takes about as long.
FIND = Statement(
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
    )
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
# Writes when keys were last used, where nothing later is known. It is no change of the key.
NOTE_USES = Statement(
    update(agent_api_keys)
    .where(_keys.id == _used.c.id)
    .values(last_used_at=func.greatest(_keys.last_used_at, _used.c.at))
)

_project_of_agent = (
    select(agents.c.project_id)
    .where(agents.c.id == bindparam("agent_id", type_=Uuid))
    .scalar_subquery()
)
LIST = Lister(
    select(*SHOWN).select_from(KEYS.with_project),
    _keys.id,
    filters={
        # The project is said for the index, which begins with it.
        "agent_id": and_(
            _keys.agent_id == bindparam("agent_id", type_=Uuid),
            _keys.project_id == _project_of_agent,
        )
    },
    orders={"created_at": _keys.created_at},
    weight=lambda row: len(orjson.dumps(row["capabilities"])),
    portion=PORTION,
)
