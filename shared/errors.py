"""The refusals of calls, with the reasons that clients branch on.

Code raises a Refusal; only `shared.grpc_server.status` turns it into a google.rpc.Status. The names
are those of ErrorReason in the protos, where each is documented.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from uuid import UUID

RETRY_AFTER_SECONDS = 1.0
# Of many ids, so many are named: clients accept 8 KiB of details.
IDS_NAMED = 100


class Code(IntEnum):
    """The canonical status codes (google.rpc.Code) that a refusal can have."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Reason(Enum):
    """Why a call is refused. Its `code` is the status code that goes with it."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def __new__(cls, code: Code) -> "Reason":
        # Many reasons share a code, and an Enum would make aliases of equal values.
        member = object.__new__(cls)
        member._value_ = len(cls.__members__) + 1
        return member

    INVALID_FIELD = Code.INVALID_ARGUMENT
    INVALID_PAGE_TOKEN = Code.INVALID_ARGUMENT
    INVALID_UPDATE_MASK = Code.INVALID_ARGUMENT
    INVALID_ORDER_BY = Code.INVALID_ARGUMENT
    TOKEN_MISSING = Code.UNAUTHENTICATED
    TOKEN_INVALID = Code.UNAUTHENTICATED
    TOKEN_EXPIRED = Code.UNAUTHENTICATED
    CALLER_INACTIVE = Code.UNAUTHENTICATED
    CALLER_UNKNOWN = Code.UNAUTHENTICATED
    API_KEY_INVALID = Code.UNAUTHENTICATED
    NOT_PROJECT_OWNER = Code.PERMISSION_DENIED
    NOT_ALLOWED_FOR_AGENT = Code.PERMISSION_DENIED
    INSUFFICIENT_ROLE = Code.PERMISSION_DENIED
    SCOPE_MISSING = Code.PERMISSION_DENIED
    CLIENT_NOT_ALLOWED = Code.PERMISSION_DENIED
    PROJECT_NOT_FOUND = Code.NOT_FOUND
    AGENT_NOT_FOUND = Code.NOT_FOUND
    TASK_NOT_FOUND = Code.NOT_FOUND
    ROOM_NOT_FOUND = Code.NOT_FOUND
    USER_NOT_FOUND = Code.NOT_FOUND
    API_KEY_NOT_FOUND = Code.NOT_FOUND
    PARTICIPANT_NOT_FOUND = Code.NOT_FOUND
    ASSIGNEE_NOT_FOUND = Code.NOT_FOUND
    MEMBER_NOT_FOUND = Code.NOT_FOUND
    AGENT_NAME_TAKEN = Code.ALREADY_EXISTS
    PROJECT_SLUG_TAKEN = Code.ALREADY_EXISTS
    ALREADY_PARTICIPANT = Code.ALREADY_EXISTS
    USERNAME_TAKEN = Code.ALREADY_EXISTS
    EMAIL_TAKEN = Code.ALREADY_EXISTS
    ALREADY_MEMBER = Code.ALREADY_EXISTS
    REQUEST_ID_REUSED = Code.ALREADY_EXISTS
    DEPENDENCY_NOT_FOUND = Code.FAILED_PRECONDITION
    DEPENDENCY_NOT_COMPLETED = Code.FAILED_PRECONDITION
    DEPENDENCY_CYCLE = Code.FAILED_PRECONDITION
    DEPENDENCY_OUTSIDE_PROJECT = Code.FAILED_PRECONDITION
    INVALID_STATUS_TRANSITION = Code.FAILED_PRECONDITION
    ASSIGNEE_INACTIVE = Code.FAILED_PRECONDITION
    ASSIGNEE_OUTSIDE_PROJECT = Code.FAILED_PRECONDITION
    TASK_HAS_DEPENDENTS = Code.FAILED_PRECONDITION
    PROJECT_NOT_ACTIVE = Code.FAILED_PRECONDITION
    USER_OWNS_PROJECTS = Code.FAILED_PRECONDITION
    LAST_SUPERUSER = Code.FAILED_PRECONDITION
    REVISION_MISMATCH = Code.ABORTED
    CONFLICT = Code.ABORTED
    EVENTS_COMPACTED = Code.OUT_OF_RANGE
    LOG_REWOUND = Code.OUT_OF_RANGE
    LEASE_LOST = Code.FAILED_PRECONDITION
    LEASE_REQUIRED = Code.FAILED_PRECONDITION
    NOT_CLAIMABLE = Code.FAILED_PRECONDITION
    INPUT_NOT_FOUND = Code.NOT_FOUND
    INPUT_KEY_USED = Code.ALREADY_EXISTS
    INPUT_ANSWERED = Code.FAILED_PRECONDITION
    DATABASE_UNAVAILABLE = Code.UNAVAILABLE
    AGENT_SERVICE_UNAVAILABLE = Code.UNAVAILABLE
    ISSUER_UNAVAILABLE = Code.UNAVAILABLE
    LIMIT_EXCEEDED = Code.RESOURCE_EXHAUSTED
    DEADLINE_TOO_SHORT = Code.DEADLINE_EXCEEDED
    METHOD_NOT_AVAILABLE = Code.UNIMPLEMENTED
    INTERNAL = Code.INTERNAL


@dataclass(frozen=True, slots=True)
class Violation:
    """A bad field (`subject` is its path), or a precondition that fails (`subject` is an id)."""

    subject: str
    description: str
    type: str = ""


@dataclass(eq=False)
class Refusal(Exception):
    """A call that is refused, with what a client needs to handle that.

    `message` is one plain sentence; `retry_after` is in seconds. `limit` names what was used up, if
    that is why: metrics count it, and clients are not told.
    """

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Iterable[Violation] = ()
    preconditions: Iterable[Violation] = ()
    resource: tuple[str, str] | None = None
    retry_after: float | None = None
    limit: str | None = None

    def __str__(self) -> str:
        return f"{self.reason.name}: {self.message}"


def invalid_field(path: str, description: str) -> Refusal:
    """One field is wrong; `description` continues the sentence "<path> …"."""
    return invalid_fields([Violation(path, description)])


def invalid_fields(violations: list[Violation]) -> Refusal:
    """Some fields are wrong."""
    sentence = "; ".join(f"{v.subject} {v.description}" for v in violations)
    return Refusal(Reason.INVALID_FIELD, f"{sentence}.", fields=violations)


def not_found(reason: Reason, resource_id: UUID | str) -> Refusal:
    """A row does not exist; the reason's name has the kind of resource (AGENT_NOT_FOUND)."""
    kind = reason.name.removesuffix("_NOT_FOUND").lower()
    return Refusal(
        reason,
        f"There is no {kind.replace('_', ' ')} {resource_id}.",
        metadata={f"{kind}_id": str(resource_id)},
        resource=(kind, str(resource_id)),
    )


def all_not_found(reason: Reason, missing: Sequence[UUID]) -> Refusal:
    """Rows of one call do not exist: as `not_found` of the first, and up to IDS_NAMED are named."""
    first = not_found(reason, missing[0])
    (name,) = first.metadata
    named = ",".join(map(str, missing[:IDS_NAMED]))
    more = "1 other is" if len(missing) == 2 else f"{len(missing) - 1} others are"
    others = f"There is no {name[:-3]} {missing[0]}, and {more} missing too."
    return replace(
        first,
        message=others if len(missing) > 1 else first.message,
        metadata={**first.metadata, f"{name}s": named, "total": str(len(missing))},
    )


def caller_inactive() -> Refusal:
    """The caller was deleted or deactivated, or its API key is no longer valid."""
    message = "The caller that the token names does not exist, is inactive, or lost its API key."
    return Refusal(Reason.CALLER_INACTIVE, message)


def not_allowed_for_agent() -> Refusal:
    """An agent calls a method for users, or on a row that is not its own in another project."""
    message = "No agent may do this, or this one not with this row."
    return Refusal(Reason.NOT_ALLOWED_FOR_AGENT, message)


def insufficient_role(found: str, required: str) -> Refusal:
    """A member of a project may not do it, but one with the role `required` or the owner may."""
    needed = "OWNER" if required == "owner" else enum_name("MEMBER_ROLE", required)
    return Refusal(
        Reason.INSUFFICIENT_ROLE,
        f"Your role in the project is {found}; this requires {required}.",
        metadata={"role": enum_name("MEMBER_ROLE", found), "required": needed},
    )


def superuser_required(what: str = "call this method") -> Refusal:
    """A user calls a method for superusers, or does with it `what` only they may."""
    message = f"Only superusers may {what}."
    return Refusal(Reason.INSUFFICIENT_ROLE, message, metadata={"required": "SUPERUSER"})


def scope_missing(required: Iterable[str]) -> Refusal:
    """The API key of an agent has none of the scopes that permit it."""
    names = sorted(enum_name("API_KEY_SCOPE", scope) for scope in required)
    return Refusal(
        Reason.SCOPE_MISSING,
        f"The agent's API key needs the scope {' or '.join(names)}.",
        metadata={"required": ",".join(names)},
    )


def revision_mismatch(given: int, found: int) -> Refusal:
    """The row was changed since the caller read it."""
    message = f"The revision is {found} now, not {given}; read the row again."
    return Refusal(Reason.REVISION_MISMATCH, message, metadata={"revision": str(found)})


def events_compacted(first: int) -> Refusal:
    """The next events are not kept any more; the oldest that is has this number."""
    message = f"The oldest event that is kept has the number {first}; what came before is gone."
    return Refusal(Reason.EVENTS_COMPACTED, message, metadata={"first_sequence": str(first)})


def log_rewound(last: int, log_id: UUID) -> Refusal:
    """The log ends before the number that the caller has, or is another one."""
    message = f"The log {log_id} has the events up to {last}; the position given is not in it."
    known = {"last_sequence": str(last), "log_id": str(log_id)}
    return Refusal(Reason.LOG_REWOUND, message, metadata=known)


def conflict() -> Refusal:
    """Concurrent changes prevented this one; nothing was changed."""
    message = "The call conflicted with concurrent changes; try again."
    return Refusal(Reason.CONFLICT, message, retry_after=RETRY_AFTER_SECONDS)


def assignee_not_found(assignee_id: UUID, kind: str) -> Refusal:
    """There is no such "agent" or "user", or none that the caller may know of."""
    return Refusal(
        Reason.ASSIGNEE_NOT_FOUND,
        f"There is no {kind} {assignee_id} that can be assigned.",
        metadata=of_assignee(assignee_id, kind),
        resource=(kind, str(assignee_id)),
    )


def of_assignee(assignee_id: UUID, kind: str) -> dict[str, str]:
    """The metadata that names an "agent" or a "user"."""
    return {"assignee_id": str(assignee_id), "assignee_type": enum_name("ASSIGNEE_TYPE", kind)}


def invalid_transition(enum: str, found: str, wanted: str, allowed: Iterable[str]) -> Refusal:
    """The lifecycle does not allow this change of status; `enum` begins the names of its values."""
    names = [enum_name(enum, status) for status in allowed]
    known = {"from": enum_name(enum, found), "to": enum_name(enum, wanted)}
    return Refusal(
        Reason.INVALID_STATUS_TRANSITION,
        f"The status cannot change from {found} to {wanted}; allowed: {', '.join(names)}.",
        metadata={**known, "allowed": ",".join(names)},
        preconditions=[
            Violation("status", f"allowed: {', '.join(names)}", "INVALID_STATUS_TRANSITION")
        ],
    )


def enum_name(enum: str, value: str) -> str:
    """The name in the protos of a value that the database keeps in lower case."""
    return f"{enum}_{value.upper()}"


def lease_lost(task_id: UUID, outcome: str | None) -> Refusal:
    """A write under a lease that does not hold the task; `outcome` is that of its attempt."""
    metadata = {"task_id": str(task_id)}
    if outcome:
        metadata["outcome"] = enum_name("ATTEMPT_OUTCOME", outcome)
    message = "The task is not held by this lease: it has ended, or never was."
    return Refusal(Reason.LEASE_LOST, message, metadata)


def lease_required(task_id: UUID) -> Refusal:
    """A change of a task that the calling agent holds by a lease, without the fencing token."""
    message = "You hold the task by a lease: give its fencing_token."
    return Refusal(Reason.LEASE_REQUIRED, message, {"task_id": str(task_id)})
