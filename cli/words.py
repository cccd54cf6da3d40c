"""The words of the protos, as people read them."""

from tandem.task.v1 import task_service_pb2 as pb


def status_word(status: "pb.TaskStatus.ValueType") -> str:
    """For example "in progress"."""
    return _word(pb.TaskStatus.Name(status), "TASK_STATUS_")


def priority_word(priority: "pb.TaskPriority.ValueType") -> str:
    """For example "high"; "" for none."""
    return _word(pb.TaskPriority.Name(priority), "TASK_PRIORITY_") if priority else ""


def attempt_word(outcome: "pb.AttemptOutcome.ValueType") -> str:
    """For example "expired"; "under way" if it is not over."""
    return _word(pb.AttemptOutcome.Name(outcome), "ATTEMPT_OUTCOME_") if outcome else "under way"


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")


def visible(text: str) -> str:
    """Without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
