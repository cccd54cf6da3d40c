"""Draws how tasks depend on each other: as a tree, for Mermaid, or for Graphviz."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import TypeAlias
from uuid import UUID

import click

from cli.console import CommandError
from cli.words import status_word, visible
from tandem.agent.v1.project_service_pb2 import ListProjectsRequest
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client.sync import Tandem

Graph: TypeAlias = pb.GetTaskGraphResponse

# A mark, and a colour of the terminal, by status.
MARKS = {
    pb.TASK_STATUS_PENDING: ("○", "white"),
    pb.TASK_STATUS_IN_PROGRESS: ("▶", "cyan"),
    pb.TASK_STATUS_REVIEW: ("◑", "magenta"),
    pb.TASK_STATUS_BLOCKED: ("◌", "yellow"),
    pb.TASK_STATUS_COMPLETED: ("✓", "green"),
    pb.TASK_STATUS_FAILED: ("✗", "red"),
    pb.TASK_STATUS_CANCELLED: ("-", "red"),
}
COLOURS = {
    pb.TASK_STATUS_PENDING: "#eeeeee",
    pb.TASK_STATUS_IN_PROGRESS: "#9bd4f5",
    pb.TASK_STATUS_REVIEW: "#d9b8f0",
    pb.TASK_STATUS_BLOCKED: "#ffe599",
    pb.TASK_STATUS_COMPLETED: "#b6e3b6",
    pb.TASK_STATUS_FAILED: "#f4b0b0",
    pb.TASK_STATUS_CANCELLED: "#d0d0d0",
}
CRITICAL = "★"
# Of what a task waits for besides what it is shown below, so many are named.
MOST_NAMED = 3


def fetch(tandem: Tandem, project: str, limit: int) -> Graph:
    """The tasks of a project, which is named by its slug or id, at most so many."""
    project_id = project_id_of(tandem, project)
    request = pb.GetTaskGraphRequest(project_id=project_id, max_nodes=limit)
    return tandem.tasks.GetTaskGraph(request)


def project_id_of(tandem: Tandem, project: str) -> str:
    """The id of a project that is named by its id or its slug."""
    with suppress(ValueError):
        return str(UUID(project))
    for found in tandem.pages(tandem.projects.ListProjects, ListProjectsRequest()):
        if found.slug == project:
            return found.id
    raise CommandError(f"You see no project {project}.")


class Layout:
    """Each task below one that it waits for: on the critical path if possible, or else the last."""

    def __init__(self, graph: Graph) -> None:
        self.tasks = {task.id: task for task in graph.nodes}
        self.critical = set(graph.critical_path)
        self.before: dict[str, list[str]] = {id_: [] for id_ in self.tasks}
        after: dict[str, list[str]] = {id_: [] for id_ in self.tasks}
        for edge in graph.edges:
            self.before[edge.task_id].append(edge.depends_on_id)
            after[edge.depends_on_id].append(edge.task_id)
        order = self._order(after)
        self._place = {id_: at for at, id_ in enumerate(order)}
        self.roots = [id_ for id_ in order if not self.before[id_]]
        self.below: dict[str, list[str]] = {id_: [] for id_ in self.tasks}
        for id_ in order[len(self.roots) :]:
            self.below[self.parent(id_)].append(id_)

    def parent(self, id_: str) -> str:
        """The task that another one is shown below."""
        return max(self.before[id_], key=lambda each: (each in self.critical, self._place[each]))

    def others(self, id_: str) -> list[str]:
        """The titles of what a task waits for besides that."""
        shown = self.parent(id_) if self.before[id_] else ""
        return [visible(self.tasks[each].title) for each in self.before[id_] if each != shown]

    def _order(self, after: dict[str, list[str]]) -> list[str]:
        """Those first that the others depend on. Dependencies have no circle."""
        left = {id_: len(before) for id_, before in self.before.items()}
        order = [id_ for id_, count in left.items() if not count]
        for id_ in order:
            for next_id in after[id_]:
                left[next_id] -= 1
                if not left[next_id]:
                    order.append(next_id)
        return order


def tree(graph: Graph) -> str:
    """A line for each task. What is below another one waits for it; only forks are indented."""
    layout = Layout(graph)
    lines = [f"{fork}{_line(layout, id_)}" for fork, id_ in _walk(layout)]
    if graph.critical_path:
        count, length = len(graph.critical_path), f"{graph.critical_length:g}"
        lines.append(f"{CRITICAL} critical path: {count} tasks, length {length}")
    return "\n".join(lines)


def _walk(layout: Layout) -> Iterator[tuple[str, str]]:
    """What is left of each task, and its id, from top to bottom."""
    stack = [("", "", id_) for id_ in reversed(layout.roots)]
    while stack:
        fork, indent, id_ = stack.pop()
        yield fork, id_
        below = layout.below[id_]
        if len(below) == 1:
            stack.append((indent, indent, below[0]))
            continue
        last = [(f"{indent}└─ ", f"{indent}   ", id_) for id_ in below[-1:]]
        stack += last + [(f"{indent}├─ ", f"{indent}│  ", id_) for id_ in reversed(below[:-1])]


def _line(layout: Layout, id_: str) -> str:
    task = layout.tasks[id_]
    mark, colour = MARKS[task.status]
    status = click.style(f"{mark} {status_word(task.status):<11}", fg=colour)
    line = f"{status}  {visible(task.title)}{f' {CRITICAL}' if id_ in layout.critical else ''}"
    if others := layout.others(id_):
        named = ", ".join(others[:MOST_NAMED])
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        line += click.style(f"  (also after {named}{more})", dim=True)
    return line


def mermaid(graph: Graph) -> str:
    """A flowchart, as documents of many kinds can contain it."""
    names, critical = _names(graph), _critical_edges(graph)
    lines = ["flowchart LR"]
    for task in graph.nodes:
        title = _escaped(visible(task.title))
        lines.append(f'  {names[task.id]}["{title}"]:::{_kind(task)}')
    for edge in graph.edges:
        one, other = edge.depends_on_id, edge.task_id
        arrow = "==>" if (one, other) in critical else "-->"
        lines.append(f"  {names[one]} {arrow} {names[other]}")
    for status in sorted({task.status for task in graph.nodes}):
        lines.append(f"  classDef {pb.TaskStatus.Name(status).lower()} fill:{COLOURS[status]}")
    if graph.critical_path:
        lines.append("  classDef critical stroke-width:3px")
        lines.append(f"  class {','.join(names[id_] for id_ in graph.critical_path)} critical")
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    """A graph for the programs of Graphviz."""
    names, path, critical = _names(graph), set(graph.critical_path), _critical_edges(graph)
    lines = ["digraph tasks {", "  rankdir=LR", '  node [shape=box, style="filled,rounded"]']
    for task in graph.nodes:
        title = visible(task.title).replace("\\", "\\\\").replace('"', '\\"')
        wide = ", penwidth=3" if task.id in path else ""
        label = f'label="{title}\\n{status_word(task.status)}"'
        lines.append(f'  {names[task.id]} [{label}, fillcolor="{COLOURS[task.status]}"{wide}]')
    for edge in graph.edges:
        pair = edge.depends_on_id, edge.task_id
        wide = " [penwidth=3]" if pair in critical else ""
        lines.append(f"  {names[pair[0]]} -> {names[pair[1]]}{wide}")
    return "\n".join([*lines, "}"])


def _names(graph: Graph) -> dict[str, str]:
    return {task.id: f"t{number}" for number, task in enumerate(graph.nodes, 1)}


def _critical_edges(graph: Graph) -> set[tuple[str, str]]:
    return set(pairwise(graph.critical_path))


def _kind(task: pb.Task) -> str:
    return pb.TaskStatus.Name(task.status).lower()


def _escaped(text: str) -> str:
    """Without what would end the text, or begin something else in it."""
    return "".join(c if c.isalnum() or c in " .,-" else f"#{ord(c)};" for c in text)


FORMS = {"tree": tree, "mermaid": mermaid, "dot": dot}
