"""What a graph is asked for, and what is answered."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from shared.database.pool import Record


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
