"""GetTaskGraph."""

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.struct_pb2 import Struct

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    GRAPH_DIRECTION_DEPENDENCIES,
    GRAPH_DIRECTION_DEPENDENTS,
    GetTaskGraphRequest,
    GetTaskGraphResponse,
    GraphRoots,
    Task,
)
from task_service.graph import rules
from tests.refusals import refused
from tests.task_service.dependents.waits import moved
from tests.task_service.graph.test_batch import create, new
from tests.world import Client, World


async def graph(client: Client, *roots: Task | str, **fields: Any) -> GetTaskGraphResponse:
    ids = [root if isinstance(root, str) else root.id for root in roots]
    if ids:
        fields["roots"] = GraphRoots(task_ids=ids)
    found: GetTaskGraphResponse = await client.tasks.GetTaskGraph(GetTaskGraphRequest(**fields))
    return found


def names(found: GetTaskGraphResponse) -> list[str]:
    return [node.title for node in found.nodes]


async def diamond(client: Client, project: Any) -> list[Task]:
    """Four tasks: d waits for b and c, and those for a."""
    tasks = (new("a"), new("b", "a", estimate=2), new("c", "a"), new("d", "b", "c"))
    return await create(client, project, *tasks)


async def test_a_graph_of_a_project_has_its_tasks_and_what_leads_between_them(
    world: World,
) -> None:
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    a, b, c, d = await diamond(alice, project)
    await alice.task(other)
    found = await graph(alice, project_id=project.id)
    assert sorted(names(found)) == ["a", "b", "c", "d"]
    edges = {(edge.task_id, edge.depends_on_id) for edge in found.edges}
    assert edges == {(b.id, a.id), (c.id, a.id), (d.id, b.id), (d.id, c.id)}
    assert list(found.critical_path) == [a.id, b.id, d.id]
    assert (found.critical_length, found.truncated) == (4.0, False)
    await moved(alice, a, "completed")
    found = await graph(alice, project_id=project.id)
    assert (list(found.critical_path), found.critical_length) == ([b.id, d.id], 3.0)


async def test_a_node_has_nothing_that_is_large(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    result = Struct()
    result.update({"a": 1})
    await create(alice, project, new("a", description="long", result=result, lock_key="key"))
    (node,) = (await graph(alice, project_id=project.id)).nodes
    assert (node.lock_key, node.title) == ("key", "a")
    assert not node.HasField("description")
    assert not node.HasField("result")
    assert not node.dependencies


async def test_a_graph_from_roots_goes_in_a_direction_and_so_far(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    a, b, c, d = await diamond(alice, project)
    (alone,) = await create(alice, project, new("e"))
    assert names(await graph(alice, b, direction=GRAPH_DIRECTION_DEPENDENCIES)) == ["b", "a"]
    assert names(await graph(alice, b, direction=GRAPH_DIRECTION_DEPENDENTS)) == ["b", "d"]
    assert names(await graph(alice, b)) == ["b", "a", "d"]
    down = {"direction": GRAPH_DIRECTION_DEPENDENCIES}
    assert names(await graph(alice, d, **down)) == ["d", "b", "c", "a"]
    assert names(await graph(alice, d, depth=1, **down)) == ["d", "b", "c"]
    assert names(await graph(alice, d, alone, c, d, depth=1, **down)) == ["d", "e", "c", "a", "b"]
    found = await graph(alice, d, alone, max_nodes=3, **down)
    assert (names(found), found.truncated) == (["d", "e", "b"], True)
    assert [(edge.task_id, edge.depends_on_id) for edge in found.edges] == [(d.id, b.id)]
    assert a.id not in found.critical_path


async def test_a_graph_that_is_too_large_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.user()
    project = await alice.project()
    await diamond(alice, project)
    found = await graph(alice, project_id=project.id, max_nodes=2)
    assert (names(found), found.truncated) == (["d", "c"], True)
    found = await graph(alice, project_id=project.id, max_nodes=4)
    assert (len(found.nodes), found.truncated) == (4, False)
    monkeypatch.setattr(rules, "MAXIMUM_EDGES", 3)
    found = await graph(alice, project_id=project.id)
    assert (len(found.edges), found.truncated) == (3, True)


async def test_roots_are_of_one_project_and_there(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project, other = await alice.project(), await alice.project()
    one, two = await alice.task(project), await alice.task(other)
    missing = str(uuid4())
    found = await refused(graph(alice, one, two), Reason.INVALID_FIELD)
    assert list(found.fields) == ["roots.task_ids"]
    found = await refused(graph(alice, one, missing), Reason.TASK_NOT_FOUND)
    assert found.metadata["task_ids"] == missing
    await refused(graph(bob, one), Reason.NOT_PROJECT_OWNER)
    await refused(graph(bob, project_id=project.id), Reason.NOT_PROJECT_OWNER)
    await refused(graph(alice, project_id=missing), Reason.PROJECT_NOT_FOUND)
    await refused(graph(alice), Reason.INVALID_FIELD)
