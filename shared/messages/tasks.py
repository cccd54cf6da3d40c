"""Tasks out of rows."""

from shared.resources.building import Row
from shared.resources.struct_json import to_struct
from shared.schema import TASK_STATUS_REASONS
from tandem.task.v1 import task_service_pb2 as pb

TO_STATUS = {
    "pending": pb.TASK_STATUS_PENDING,
    "in_progress": pb.TASK_STATUS_IN_PROGRESS,
    "review": pb.TASK_STATUS_REVIEW,
    "blocked": pb.TASK_STATUS_BLOCKED,
    "completed": pb.TASK_STATUS_COMPLETED,
    "failed": pb.TASK_STATUS_FAILED,
    "cancelled": pb.TASK_STATUS_CANCELLED,
}
TO_PRIORITY = {
    None: pb.TASK_PRIORITY_UNSPECIFIED,
    "low": pb.TASK_PRIORITY_LOW,
    "medium": pb.TASK_PRIORITY_MEDIUM,
    "high": pb.TASK_PRIORITY_HIGH,
    "critical": pb.TASK_PRIORITY_CRITICAL,
}
TO_TYPE = {
    None: pb.ASSIGNEE_TYPE_UNSPECIFIED,
    "agent": pb.ASSIGNEE_TYPE_AGENT,
    "user": pb.ASSIGNEE_TYPE_USER,
}
TO_REASON: "dict[str | None, pb.TaskStatusReason.ValueType]" = {
    None: pb.TASK_STATUS_REASON_UNSPECIFIED,
    **{
        reason: pb.TaskStatusReason.Value(f"TASK_STATUS_REASON_{reason.upper()}")
        for reason in TASK_STATUS_REASONS
    },
}
TO_POLICY: "dict[str | None, pb.DependencyPolicy.ValueType]" = {
    None: pb.DEPENDENCY_POLICY_UNSPECIFIED,
    "strict": pb.DEPENDENCY_POLICY_STRICT,
    "wait": pb.DEPENDENCY_POLICY_WAIT,
}
TO_ON_FAILURE: "dict[str | None, pb.OnDependencyFailure.ValueType]" = {
    None: pb.ON_DEPENDENCY_FAILURE_UNSPECIFIED,
    "keep_blocked": pb.ON_DEPENDENCY_FAILURE_KEEP_BLOCKED,
    "cancel": pb.ON_DEPENDENCY_FAILURE_CANCEL,
    "fail": pb.ON_DEPENDENCY_FAILURE_FAIL,
    "ignore": pb.ON_DEPENDENCY_FAILURE_IGNORE,
}


def task(row: Row) -> pb.Task:
    """A row as a message."""
    return pb.Task(
        id=str(row["id"]),
        project_id=str(row["project_id"]),
        room_id=row["room_id"] and str(row["room_id"]),
        title=row["title"],
        description=row["description"],
        status=TO_STATUS[row["status"]],
        priority=TO_PRIORITY[row["priority"]],
        assigned_to=row["assigned_to"] and str(row["assigned_to"]),
        assigned_to_type=TO_TYPE[row["assigned_to_type"]],
        created_by=row["created_by"] and str(row["created_by"]),
        created_by_agent_id=row["created_by_agent_id"] and str(row["created_by_agent_id"]),
        dependencies=row["dependencies"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        due_date=row["due_date"],
        result=row["result"] and to_struct(row["result"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
        required_capabilities=words(row["required_capabilities"]),
        ready_at=row["ready_at"],
        max_attempts=row["max_attempts"],
        attempt=row["attempt"],
        lock_key=row["lock_key"],
        status_reason=TO_REASON[row["status_reason"]],
        status_message=row["status_message"],
        leased=row["leased"],
        cancel_requested_at=row["cancel_requested_at"],
        dependency_policy=TO_POLICY[row["dependency_policy"]],
        on_dependency_failure=TO_ON_FAILURE[row["on_dependency_failure"]],
        parent_id=row["parent_id"] and str(row["parent_id"]),
        open_dependencies=row["open_dependencies"],
        estimate=row["estimate"],
    )


def words(joined: str | None) -> list[str]:
    """The words of `tasks.required_capabilities`."""
    return joined.split(",") if joined else []
