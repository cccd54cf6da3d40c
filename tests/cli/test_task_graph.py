"""How tasks that depend on each other are drawn."""

import click
import pytest

from cli import task_graph
from tandem.task.v1 import task_service_pb2 as pb


def graph(*edges: str, critical: str = "", **statuses: str) -> pb.GetTaskGraphResponse:
    """Tasks named by letters; "ab" says that b depends on a."""
    names = sorted({*"".join(edges), *statuses})
    nodes = [
        pb.Task(
            id=name,
            title=f"Task {name}",
            status=pb.TaskStatus.Value(f"TASK_STATUS_{statuses.get(name, 'PENDING')}"),
        )
        for name in names
    ]
    pairs = [pb.GraphEdge(depends_on_id=edge[0], task_id=edge[1]) for edge in edges]
    return pb.GetTaskGraphResponse(
        nodes=nodes, edges=pairs, critical_path=critical, critical_length=len(critical)
    )


def tree(found: pb.GetTaskGraphResponse) -> list[str]:
    return click.unstyle(task_graph.tree(found)).splitlines()


def test_a_chain_is_not_indented() -> None:
    assert tree(graph("ab", "bc", a="COMPLETED", b="IN_PROGRESS", c="BLOCKED")) == [
        "✓ completed    Task a",
        "▶ in progress  Task b",
        "◌ blocked      Task c",
    ]


def test_a_fork_is_indented_and_each_task_shown_once() -> None:
    assert tree(graph("ab", "ac", "bd", "cd", "de", critical="abde", f="FAILED")) == [
        "○ pending      Task a ★",
        "├─ ○ pending      Task b ★",
        "│  ○ pending      Task d ★  (also after Task c)",
        "│  ○ pending      Task e ★",
        "└─ ○ pending      Task c",
        "✗ failed       Task f",
        "★ critical path: 4 tasks, length 4",
    ]


def test_of_many_that_a_task_waits_for_three_are_named() -> None:
    *_, last = tree(graph("az", "bz", "cz", "dz", "ez"))
    assert last.endswith("Task z  (also after Task a, Task b, Task c and 1 more)")


def test_a_chain_of_thousands_is_drawn() -> None:
    nodes = [pb.Task(id=str(n), title=str(n), status=pb.TASK_STATUS_PENDING) for n in range(5000)]
    edges = [pb.GraphEdge(task_id=str(n + 1), depends_on_id=str(n)) for n in range(4999)]
    assert len(tree(pb.GetTaskGraphResponse(nodes=nodes, edges=edges))) == 5000


def test_nothing_is_drawn_as_nothing() -> None:
    assert tree(graph()) == []


def test_mermaid_has_each_task_and_edge() -> None:
    found = graph("ab", "ac", critical="ab", a="COMPLETED")
    found.nodes[1].title = 'Say "hi"]'
    assert task_graph.mermaid(found).splitlines() == [
        "flowchart LR",
        '  t1["Task a"]:::task_status_completed',
        '  t2["Say #34;hi#34;#93;"]:::task_status_pending',
        '  t3["Task c"]:::task_status_pending',
        "  t1 ==> t2",
        "  t1 --> t3",
        "  classDef task_status_pending fill:#eeeeee",
        "  classDef task_status_completed fill:#b6e3b6",
        "  classDef critical stroke-width:3px",
        "  class t1,t2 critical",
    ]


def test_dot_has_each_task_and_edge() -> None:
    found = graph("ab", "ac", critical="ab")
    found.nodes[1].title = 'Say "hi" \\'
    assert task_graph.dot(found).splitlines() == [
        "digraph tasks {",
        "  rankdir=LR",
        '  node [shape=box, style="filled,rounded"]',
        '  t1 [label="Task a\\npending", fillcolor="#eeeeee", penwidth=3]',
        '  t2 [label="Say \\"hi\\" \\\\\\npending", fillcolor="#eeeeee", penwidth=3]',
        '  t3 [label="Task c\\npending", fillcolor="#eeeeee"]',
        "  t1 -> t2 [penwidth=3]",
        "  t1 -> t3",
        "}",
    ]


@pytest.mark.parametrize("status", sorted(set(pb.TaskStatus.values()) - {0}))
def test_every_status_has_a_mark_and_a_colour(status: "pb.TaskStatus.ValueType") -> None:
    assert status in task_graph.MARKS
    assert status in task_graph.COLOURS


def test_what_a_terminal_would_obey_is_shown_as_text() -> None:
    found = graph(a="PENDING")
    found.nodes[0].title = "\x1b[2J"
    for form in task_graph.FORMS.values():
        assert "\x1b[2J" not in form(found)
