"""The statements that keep when agents were seen last."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    Uuid,
    bindparam,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from shared.database.statement import Statement
from shared.events.recording import Change, Old, told
from shared.schema import agent_presence, agents

# A sign of life is not written if one is as young as this.
KNOWN_SECONDS = 5

_presence, _agent = agent_presence.c, agents.c
_project_id = bindparam("project_id", type_=Uuid)
_agent_id = bindparam("agent_id", type_=Uuid)


def is_known() -> ColumnElement[bool]:
    """Whether it is known for a few seconds that the agent was seen."""
    since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, literal(KNOWN_SECONDS, Integer))
    known = select(_presence.agent_id).where(
        _presence.project_id == _project_id,
        _presence.agent_id == _agent_id,
        _presence.last_seen_at >= since,
    )
    return known.exists()


def _note() -> Statement:
    # Without a look before, also a row that stays as it is would be locked, and so be written.
    row = select(_project_id, _agent_id).where(~is_known())
    new = insert(agent_presence).from_select(["project_id", "agent_id"], row)
    return Statement(
        "Writes that an agent was seen, unless that is known for a few seconds.",
        new.on_conflict_do_update(
            index_elements=["project_id", "agent_id"], set_={"last_seen_at": func.now()}
        ),
    )


NOTE = _note()


def _go_online() -> Change:
    values: dict[str, Any] = {"status": literal("online", String)}
    old = Old.of(agents, values)
    locked = (
        select(_agent.id, *old.columns)
        .where(
            _agent.project_id == _project_id,
            _agent.id == _agent_id,
            _agent.status == "offline",
            _agent.is_active,
        )
        .with_for_update(key_share=True)
        .cte("locked")
    )
    changed = (
        update(agents)
        .where(_agent.id == locked.c.id)
        .values(**values, revision=_agent.revision + 1, updated_at=func.now())
        .returning(*agents.c, *old.within(locked).columns)
        .cte("changed")
    )
    rows = told(agents, "agent.status_changed", changed, old.within(changed))
    return Change(
        "Sets an agent online that is offline.", [changed.c.id], changed, select(*rows).cte("told")
    )


GO_ONLINE = _go_online()
