"""`tandem tasks`: claim tasks, say how they have ended, and see what waits for what."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import UUID

import click
from click.core import ParameterSource

from cli import arguments
from cli.console import CommandError, show
from shared.settings import load_settings

api_key = click.option(
    "--api-key",
    envvar="TANDEM_API_KEY",
    default="",
    callback=arguments.or_in_file,
    help="Of an agent. Or in TANDEM_API_KEY, or in the file that TANDEM_API_KEY_FILE names.",
)
token = click.option(
    "--token",
    envvar="TANDEM_TOKEN",
    default="",
    callback=arguments.or_in_file,
    help="Of a user, if there is no API key. Or in TANDEM_TOKEN, or in the file that "
    "TANDEM_TOKEN_FILE names.",
)
BOTH = "--api-key and --token exclude each other: it is one of them who calls."
task = click.argument("task", type=click.UUID)
fence = click.option(
    "--fence", type=click.IntRange(1), required=True, help="The fencing token of the lease."
)


def as_caller(function: Callable[..., Any]) -> Callable[..., Any]:
    """With the options that say who calls. One that is given goes before the environment."""

    @wraps(function)
    def called(api_key: str, token: str, **given: Any) -> Any:
        is_given = click.get_current_context().get_parameter_source
        if is_given("token") is ParameterSource.COMMANDLINE:
            if is_given("api_key") is ParameterSource.COMMANDLINE:
                raise CommandError(BOTH)
            api_key = ""
        return function(api_key=api_key, token=token, **given)

    return api_key(token(called))


def under_lease(function: Callable[..., Any]) -> Callable[..., Any]:
    """With the arguments that name a lease."""
    return task(fence(as_caller(function)))


@click.group("tasks")
def command() -> None:
    """Claim tasks, say how they ended, see what waits for what.

    Over gRPC, as an agent (TANDEM_API_KEY) or a user (TANDEM_TOKEN).
    """


@command.command()
@click.option("--agent", type=click.UUID, help="For which agent. Default: the caller.")
@click.option(
    "--count",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="How many at most.",
)
@click.option("--capability", "capabilities", multiple=True, help="Only tasks that need no other.")
@click.option(
    *("--lease", "lease"),
    default="60s",
    show_default=True,
    callback=arguments.lifetime,
    help="How long the lease lasts: 60s, 10m, up to 12h.",
)
@click.option(
    "--wait",
    type=click.IntRange(0, 60),
    default=0,
    metavar="SECONDS",
    help="How long to wait for a task if there is none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document for each, on a line.")
@as_caller
def claim(
    agent: UUID | None,
    count: int,
    capabilities: tuple[str, ...],
    lease: timedelta,
    wait: int,
    as_json: bool,
    api_key: str,
    token: str,
) -> None:
    """Claim tasks for an agent, until they end or the lease does."""
    from cli import tasks
    from cli.tandem_calls import calling

    with calling(load_settings(), api_key, token) as tandem:
        agent_id = str(agent) if agent else None
        seconds = timedelta(seconds=wait)
        claimed = tasks.claim(tandem, agent_id, count, capabilities, lease, seconds)
    show(tasks.as_json(claimed) if as_json else tasks.as_text(claimed))


@command.command()
@click.option("--result", metavar="JSON", help="A JSON object.")
@under_lease
def complete(task: UUID, fence: int, result: str | None, api_key: str, token: str) -> None:
    """Complete TASK, which the agent holds."""
    from cli import tasks
    from cli.tandem_calls import calling

    with calling(load_settings(), api_key, token) as tandem:
        show(tasks.moved(tasks.complete(tandem, str(task), fence, result)))


@command.command()
@click.option("--error", required=True, metavar="TEXT", help="What went wrong.")
@click.option("--final", is_flag=True, help="Another attempt would not help.")
@click.option(
    "--retry-after",
    callback=arguments.if_given(arguments.lifetime),  # type: ignore[arg-type]
    help="How long to pause until the next attempt: 30s, 10m.",
)
@under_lease
def fail(
    task: UUID,
    fence: int,
    error: str,
    final: bool,
    retry_after: timedelta | None,
    api_key: str,
    token: str,
) -> None:
    """Say that the attempt at TASK has failed.

    The task is pending again after a pause, if it has attempts left; otherwise it has failed.
    """
    from cli import tasks
    from cli.tandem_calls import calling

    with calling(load_settings(), api_key, token) as tandem:
        moved = tasks.fail(tandem, str(task), fence, error, retry_after, final=final)
        show(tasks.moved(moved))


@command.command()
@under_lease
def release(task: UUID, fence: int, api_key: str, token: str) -> None:
    """Give TASK back: it is pending again, the attempt does not count."""
    from cli import tasks
    from cli.tandem_calls import calling

    with calling(load_settings(), api_key, token) as tandem:
        show(tasks.moved(tasks.release(tandem, str(task), fence)))


@command.command()
@click.argument("project")
@click.option(
    *("--format", "form"),
    type=click.Choice(["tree", "mermaid", "dot"]),
    default="tree",
    show_default=True,
)
@click.option(
    "--limit",
    type=click.IntRange(1, 5000),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many tasks at most.",
)
@as_caller
def graph(project: str, form: str, limit: int, api_key: str, token: str) -> None:
    """Show how the tasks of PROJECT depend on each other.

    PROJECT is a slug or an id. A task below another one waits for it. The critical path is marked:
    the longest chain of what is still to be done.
    """
    from cli import task_graph
    from cli.console import say
    from cli.tandem_calls import calling

    with calling(load_settings(), api_key, token) as tandem:
        found = task_graph.fetch(tandem, project, limit)
    show(task_graph.FORMS[form](found))
    if found.truncated:
        say(f"There are more tasks than these {len(found.nodes)}: see --limit.")
