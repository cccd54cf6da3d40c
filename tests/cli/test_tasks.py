"""`tandem tasks`, against both services."""

import json
from typing import Any

from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1 import task_service_pb2 as pb
from tests.cli.conftest import SECRET, Program
from tests.world import Client, User, World


class Desk:
    """A project with an agent, and the command line with the agent's API key."""

    def __init__(self, world: World, alice: User, project: Project, agent: Agent, key: str) -> None:
        self.alice, self.project, self.agent = alice, project, agent
        self.tandem = Program(
            {
                "TANDEM_AGENT_ADDRESS": world.settings.agent_address,
                "TANDEM_TASK_ADDRESS": world.settings.task_address,
                "TANDEM_JWT_SECRET": SECRET,
                "TANDEM_API_KEY": key,
                "TANDEM_TOKEN": "",
            }
        )

    @classmethod
    async def of(cls, world: World) -> "Desk":
        alice = await world.user()
        project = await alice.project()
        agent = await alice.agent(project, name="Scout", capabilities=["search"])
        return cls(world, alice, project, agent, (await alice.api_key(agent)).secret)

    async def says(self, *arguments: str, **environment: str) -> str:
        return await self.tandem.prints("tasks", *arguments, **environment)

    async def refuses(self, *arguments: str, **environment: str) -> str:
        return await self.tandem.says_why_not("tasks", *arguments, **environment)

    async def claimed(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(await self.says("claim", "--json"))
        return document

    async def task(self, task_id: str) -> pb.Task:
        task: pb.Task = await self.alice.tasks.GetTask(pb.GetTaskRequest(task_id=task_id))
        return task


def lease_of(claimed: dict[str, Any]) -> tuple[str, str, str]:
    return claimed["task"]["id"], "--fence", claimed["lease"]["fencingToken"]


async def test_a_task_is_claimed_and_completed(world: World) -> None:
    desk = await Desk.of(world)
    task = await desk.alice.task(desk.project, title="Land", priority=pb.TASK_PRIORITY_HIGH)
    said = await desk.says("claim", "--lease", "10m")
    command = f"tandem tasks complete {task.id} --fence 1"
    assert said.splitlines() == [
        "Land",
        f"  task      {task.id}",
        "  priority  high",
        "  attempt   1 of 3",
        "  lease     600 s, fencing token 1",
        f"  then      {command}",
    ]
    said = await desk.says(*command.split()[2:], "--result", '{"site": "Mare"}')
    assert said == "Land is completed.\n"
    done = await desk.task(task.id)
    assert (done.status, done.result["site"]) == (pb.TASK_STATUS_COMPLETED, "Mare")


async def test_an_attempt_that_failed_is_told_to_the_next(world: World) -> None:
    desk = await Desk.of(world)
    await desk.alice.task(desk.project, title="Land")
    lease = lease_of(await desk.claimed())
    said = await desk.says("fail", *lease, "--error", "Too steep", "--retry-after", "1s")
    assert said == "Land is pending.\n"
    assert "  before    attempt 1 failed: Too steep\n" in await desk.says("claim", "--wait", "20")


async def test_an_attempt_that_failed_for_good_fails_the_task(world: World) -> None:
    desk = await Desk.of(world)
    await desk.alice.task(desk.project, title="Land")
    lease = lease_of(await desk.claimed())
    assert await desk.says("fail", *lease, "--error", "No", "--final") == "Land is failed.\n"


async def test_a_task_is_given_back(world: World) -> None:
    desk = await Desk.of(world)
    await desk.alice.task(desk.project, title="Land")
    assert await desk.says("release", *lease_of(await desk.claimed())) == "Land is pending.\n"


async def test_several_tasks_are_claimed_as_documents(world: World) -> None:
    desk = await Desk.of(world)
    for title in ("One", "Two", "Three"):
        await desk.alice.task(desk.project, title=title)
    said = await desk.says("claim", "--count", "2", "--json")
    titles = [json.loads(line)["task"]["title"] for line in said.splitlines()]
    assert titles == ["One", "Two"]


async def test_a_user_claims_for_an_agent(world: World) -> None:
    desk = await Desk.of(world)
    await desk.alice.task(desk.project, title="Land")
    user = {"TANDEM_API_KEY": "", "TANDEM_TOKEN": desk.alice.token or ""}
    assert "for which agent" in await desk.refuses("claim", **user)
    assert (await desk.says("claim", "--agent", desk.agent.id, **user)).startswith("Land\n")


async def test_an_option_goes_before_the_environment(world: World) -> None:
    desk = await Desk.of(world)
    await desk.alice.task(desk.project, title="Land")
    token = desk.alice.token or ""
    said = await desk.says("graph", desk.project.id, "--token", token)
    assert "Land" in said
    both = await desk.refuses("graph", desk.project.id, "--token", token, "--api-key", "tdm_x")
    assert both == "--api-key and --token exclude each other: it is one of them who calls.\n"
    said = await desk.says("claim", TANDEM_TOKEN=token)
    assert said.startswith("Land\n"), "the agent, as in the environment of a worker"


async def test_what_cannot_be_is_a_sentence(world: World) -> None:
    desk = await Desk.of(world)
    task = await desk.alice.task(desk.project)
    lease = (task.id, "--fence", "7")
    elsewhere = {"TANDEM_AGENT_ADDRESS": "127.0.0.1:1"}
    for arguments, environment, said in [
        (("claim",), {"TANDEM_API_KEY": ""}, "Set TANDEM_API_KEY or TANDEM_TOKEN"),
        (("claim",), elsewhere, "The services cannot be reached"),
        (("complete", *lease), {}, "LEASE_LOST: "),
        (("complete", *lease, "--result", "[1]"), {}, "--result is a JSON object"),
        (("claim", "--lease", "1s"), {}, "INVALID_FIELD: "),
    ]:
        assert (await desk.refuses(*arguments, **environment)).startswith(said)


async def test_no_task_is_a_sentence(world: World) -> None:
    desk = await Desk.of(world)
    assert await desk.refuses("claim") == "There is no task to claim.\n"


async def test_the_graph_of_a_project_is_fetched_by_slug_or_id(world: World) -> None:
    desk = await Desk.of(world)
    await chain(desk.alice, desk.project, "Survey", "Analyse", "Report")
    user = {"TANDEM_API_KEY": "", "TANDEM_TOKEN": desk.alice.token or ""}
    said = await desk.says("graph", desk.project.slug, **user)
    assert said.splitlines() == [
        "○ pending      Survey ★",
        "◌ blocked      Analyse ★",
        "◌ blocked      Report ★",
        "★ critical path: 3 tasks, length 3",
    ]
    assert await desk.says("graph", desk.project.id, **user) == said
    limited = await desk.tandem.run("tasks", "graph", desk.project.id, "--limit", "2", **user)
    assert "more tasks than these 2" in limited[2]
    assert await desk.refuses("graph", "nothing", **user) == "You see no project nothing.\n"


async def chain(user: Client, project: Project, *titles: str) -> None:
    """Tasks of which each waits for the one before."""
    tasks = [
        pb.NewTask(
            ref=title,
            task=pb.Task(title=title, dependency_policy=pb.DEPENDENCY_POLICY_WAIT),
            depends_on_refs=titles[max(0, at - 1) : at],
        )
        for at, title in enumerate(titles)
    ]
    await user.tasks.BatchCreateTasks(
        pb.BatchCreateTasksRequest(project_id=project.id, tasks=tasks)
    )
