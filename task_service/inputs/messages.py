"""What is asked for and answered, between the wire and the rules."""

from typing import Any

from shared.messages.attempts import TO_KIND
from shared.resources.validation import KIB, struct, validate
from tandem.task.v1 import task_service_pb2 as pb

BYTES = 64 * KIB
FROM_KIND = {kind: word for word, kind in TO_KIND.items()}


def asked(request: pb.RequestInputRequest) -> dict[str, Any]:
    """The lease, and what is asked for."""
    validate(request)
    return {
        "fence": request.fencing_token,
        "key": request.input.key,
        "kind": FROM_KIND.get(request.input.kind, "input"),
        "prompt": request.input.prompt,
        "schema": struct(request.input, "schema", "input.schema", BYTES),
    }


def answered(request: pb.AnswerInputRequest) -> dict[str, Any]:
    """The key and the answer."""
    validate(request)
    return {"key": request.key, "answer": struct(request, "answer", "answer", BYTES)}
