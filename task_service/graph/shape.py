"""What is asked of many tasks at once, and what is answered."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from shared.database.pool import Record
from task_service.graph.batch import Batch


class Origin(NamedTuple):
    """What a graph is asked for: that of a project, or what `directions` lead to from `roots`."""

    project_id: str
    roots: Sequence[UUID]
    directions: Sequence[str]
    depth: int
    maximum: int


class Graph(NamedTuple):
    """Tasks without what is large, the edges between them, and their critical path."""

    nodes: Sequence[Record]
    edges: Sequence[Record]
    path: Sequence[UUID]
    length: float
    is_truncated: bool


class Split(NamedTuple):
    """The lease under which a task is split, and its parts."""

    fence: int
    parts: Batch


class Parts(NamedTuple):
    """A task that was split, and its parts."""

    task: Record
    parts: Sequence[Record]
