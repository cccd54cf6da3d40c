"""Many tasks at once between the wire and the rules."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

from shared.errors import Reason, Refusal, Violation, invalid_field
from shared.events.vocabulary import NIL
from shared.messages.tasks import task
from shared.resources.building import Row, build, build_all, in_turns
from shared.resources.pagination import PAGE_BYTES
from shared.resources.validation import validate
from tandem.task.v1 import task_service_pb2 as pb
from task_service.graph.batch import Batch, New, resolve
from task_service.graph.shape import Graph, Origin, Parts, Split
from task_service.tasks import messages

MAXIMUM_TASKS = 1000
# What a response has of a task besides what was sent, and of each of its dependencies.
TASK_BYTES, ID_BYTES = 500, 38
DEFAULT_DEPTH, DEFAULT_NODES = 100, 1000
DIRECTIONS: "dict[pb.GraphDirection.ValueType, Sequence[str]]" = {
    pb.GRAPH_DIRECTION_UNSPECIFIED: ("dependencies", "dependents"),
    pb.GRAPH_DIRECTION_BOTH: ("dependencies", "dependents"),
    pb.GRAPH_DIRECTION_DEPENDENCIES: ("dependencies",),
    pb.GRAPH_DIRECTION_DEPENDENTS: ("dependents",),
}


async def batch(request: pb.BatchCreateTasksRequest) -> Batch:
    """The tasks that are to be created. Raises Refusal: INVALID_FIELD, DEPENDENCY_CYCLE, …"""
    outline = pb.BatchCreateTasksRequest(
        project_id=request.project_id, request_id=request.request_id, tasks=_number(request.tasks)
    )
    validate(outline)
    return await new_tasks(request.tasks, request.project_id)


async def split(request: pb.SplitTaskRequest) -> Split:
    """The lease, and the parts that are to be created. Raises Refusal as `batch`."""
    validate(
        pb.SplitTaskRequest(
            task_id=request.task_id,
            fencing_token=request.fencing_token,
            request_id=request.request_id,
            tasks=_number(request.tasks),
        )
    )
    parts = await new_tasks(request.tasks)
    task_id = UUID(request.task_id)
    tasks = [_part(number, each, task_id) for number, each in enumerate(parts.tasks)]
    return Split(request.fencing_token, replace(parts, tasks=tasks))


async def new_tasks(given: Iterable[pb.NewTask], project_id: str = "") -> Batch:
    """Tasks that are to be created in a project, if it is known; there are not too many.

    Raises Refusal: INVALID_FIELD, DEPENDENCY_CYCLE, LIMIT_EXCEEDED.
    """
    found: list[New] = []
    size = 0
    async for each in in_turns(given):
        found.append(_new(len(found), each, project_id))
        listed = len(each.depends_on_refs) + len(each.task.dependencies)
        size += each.task.ByteSize() + TASK_BYTES + ID_BYTES * listed
    if size > PAGE_BYTES:
        raise _too_large()
    return resolve(found)


async def parts(found: Parts) -> pb.SplitTaskResponse:
    """A task that was split, and its parts."""
    response = pb.SplitTaskResponse(task=await build(found.task, task))
    async for each, _ in build_all(found.parts, task):
        response.parts.append(each)
    return response


async def created(rows: Iterable[Row]) -> pb.BatchCreateTasksResponse:
    """Tasks that were created."""
    response = pb.BatchCreateTasksResponse()
    async for each, _ in build_all(rows, task):
        response.tasks.append(each)
    return response


def origin(request: pb.GetTaskGraphRequest) -> Origin:
    """What a graph is asked for. Raises Refusal(INVALID_FIELD)."""
    validate(request)
    return Origin(
        request.project_id,
        list(dict.fromkeys(map(UUID, request.roots.task_ids))),
        DIRECTIONS[request.direction],
        request.depth or DEFAULT_DEPTH,
        request.max_nodes or DEFAULT_NODES,
    )


async def graph(found: Graph) -> pb.GetTaskGraphResponse:
    """A graph, cut to what clients take."""
    response = pb.GetTaskGraphResponse(
        critical_path=map(str, found.path),
        critical_length=found.length,
        truncated=found.is_truncated,
    )
    left = PAGE_BYTES - response.ByteSize() - 2 * ID_BYTES * len(found.edges)
    async for each, size in build_all(found.nodes, task):
        left -= size
        if left < 0:
            response.truncated = True
            break
        response.nodes.append(each)
    shown = {node.id for node in response.nodes}
    for edge in found.edges:
        task_id, depends_on_id = str(edge["task_id"]), str(edge["depends_on_id"])
        if task_id in shown and depends_on_id in shown:
            response.edges.add(task_id=task_id, depends_on_id=depends_on_id)
    return response


def _number(given: Sequence[pb.NewTask]) -> Iterable[pb.NewTask]:
    """What says that there are none, some, or too many; each is looked at by itself."""
    return [pb.NewTask()] * (min(len(given), 1) if len(given) <= MAXIMUM_TASKS else len(given))


def _new(number: int, given: pb.NewTask, project_id: str) -> New:
    path = f"tasks[{number}]"
    stated = given.task.project_id
    if stated and project_id and stated.lower() != project_id.lower():
        raise invalid_field(f"{path}.task.project_id", "must be that of the batch")
    request = pb.CreateTaskRequest(task=given.task)
    request.task.project_id = stated or project_id or str(NIL)
    outline = pb.NewTask(
        ref=given.ref, depends_on_refs=given.depends_on_refs, parent_ref=given.parent_ref
    )
    try:
        validate(outline)
        values = messages.new_task(request)
    except Refusal as refusal:
        raise _within(path, refusal) from None
    del values["project_id"]
    upon, project = list(given.depends_on_refs), UUID(stated) if stated else None
    return New(values, given.ref, upon, given.parent_ref, project)


def _part(number: int, given: New, task_id: UUID) -> New:
    if given.parent_ref:
        return given
    if given.values.get("parent_id") not in (None, task_id):
        raise invalid_field(f"tasks[{number}].task.parent_id", "must be the task that is split")
    return replace(given, values={**given.values, "parent_id": task_id})


def _within(path: str, refusal: Refusal) -> Refusal:
    """The refusal of a task, as one of a batch."""
    fields = [replace(each, subject=f"{path}.{each.subject}") for each in refusal.fields]
    return replace(refusal, message=_sentence(fields) or refusal.message, fields=fields)


def _sentence(fields: Sequence[Violation]) -> str:
    return "; ".join(f"{each.subject} {each.description}" for each in fields) + "." * bool(fields)


def _too_large() -> Refusal:
    message = f"The tasks would be larger than {PAGE_BYTES // 1024} KiB together; give fewer."
    return Refusal(Reason.LIMIT_EXCEEDED, message, {"limit_bytes": str(PAGE_BYTES)})
