"""The statements on what agents ask for. The task is locked before each of them."""

from sqlalchemy import String, Uuid, and_, bindparam, case, func, null, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.dependents.queries import FOREVER, PREFERRED, WAITS_FOR
from shared.schema import task_inputs, tasks
from task_service.tasks.queries import TASKS

_input, _task = task_inputs.c, tasks.c
_of_task = and_(
    _input.project_id == bindparam("project_id", type_=Uuid),
    _input.task_id == bindparam("task_id", type_=Uuid),
)
_key = bindparam("key", type_=String)
ASKED = ("input", "auth")

NUMBER = Statement(
    "How much was asked for of a task.",
    select(func.count().label("number")).select_from(task_inputs).where(_of_task),
)
_latest = select(func.max(_input.requested_at)).where(_of_task).scalar_subquery()
GET = Statement(
    "What was asked for, and whether it is what is asked for now.",
    select(*_input, (_input.requested_at == _latest).label("is_latest")).where(
        _of_task, _input.key == _key
    ),
)
ADD = Statement(
    "Keeps what is asked for.",
    insert(task_inputs).values(
        project_id=bindparam("project_id", type_=Uuid),
        task_id=bindparam("task_id", type_=Uuid),
        key=_key,
        kind=bindparam("kind", type_=String),
        prompt=bindparam("prompt", type_=String),
        schema=bindparam("schema", type_=JSONB),
    ),
)
KEEP_ANSWER = Statement(
    "Keeps the answer to what was asked for.",
    update(task_inputs)
    .where(_of_task, _input.key == _key)
    .values(answer=bindparam("answer", type_=JSONB), answered_at=func.now()),
)

_waits = _task.open_dependencies > 0
_ends_preference = or_(_task.preferred_until.is_(None), _task.assigned_agent_id.is_(None))
UNBLOCK = TASKS.changing(
    "Lets a task go on for which an answer has come. If it was assigned to no agent before, only "
    "the agent that has asked can claim it for a time.",
    {
        "status": case((_waits, "blocked"), else_="pending"),
        "status_reason": case((_waits, WAITS_FOR)),
        "started_at": null(),
        "ready_at": func.greatest(func.now(), _task.ready_at),
        "preferred_until": case(
            (_ends_preference, null()), (_waits, FOREVER), else_=func.now() + PREFERRED
        ),
    },
    _task.status == "blocked",
    _task.status_reason.in_(ASKED),
    event="task.unblocked",
    permission=Permission.MANAGE_TASKS,
)
