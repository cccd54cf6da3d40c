"""Attempts at tasks, and what was asked for, out of rows."""

from shared.resources.building import Row
from shared.resources.struct_json import to_struct
from shared.schema import ATTEMPT_OUTCOMES
from tandem.task.v1 import task_service_pb2 as pb

TO_OUTCOME: "dict[str | None, pb.AttemptOutcome.ValueType]" = {
    None: pb.ATTEMPT_OUTCOME_UNSPECIFIED,
    **{
        outcome: pb.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome.upper()}")
        for outcome in ATTEMPT_OUTCOMES
    },
}
TO_KIND = {"input": pb.INPUT_KIND_INPUT, "auth": pb.INPUT_KIND_AUTH}


def attempt(row: Row) -> pb.Attempt:
    """A row of `task_attempts` as a message."""
    return pb.Attempt(
        fencing_token=row["fence"],
        attempt=row["attempt"],
        agent_id=str(row["agent_id"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        outcome=TO_OUTCOME[row["outcome"]],
        error=row["error"] and to_struct(row["error"]),
        progress=row["progress"] and to_struct(row["progress"]),
    )


def task_input(row: Row) -> pb.Input:
    """A row of `task_inputs` as a message."""
    return pb.Input(
        key=row["key"],
        kind=TO_KIND[row["kind"]],
        prompt=row["prompt"],
        schema=row["schema"] and to_struct(row["schema"]),
        answer=row["answer"] and to_struct(row["answer"]),
        requested_at=row["requested_at"],
        answered_at=row["answered_at"],
    )
