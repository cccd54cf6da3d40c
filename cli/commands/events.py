"""`tandem events`: what has changed in a project."""

from uuid import UUID

import click

from cli.console import say
from shared.settings import load_settings

LATEST = 50


@click.command("events")
@click.argument("project")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--after", type=click.IntRange(0), metavar="N", help="Begin behind the event N.")
@click.option("--type", "types", multiple=True, help="Only this type, for example task.created.")
@click.option("--resource", type=click.UUID, help="Only the resource with this id.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"The latest N, {LATEST} by default; with --after, the first N, by default all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document for each, on a line.")
def command(
    project: str,
    follow: bool,
    after: int | None,
    types: tuple[str, ...],
    resource: UUID | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show what has changed in PROJECT, named by its slug or id.

    A deleted project is known by its id only. Changes of users are in the project with the nil id.
    """
    from cli import event_lines, events
    from cli.database import database_url

    if unknown := events.unknown_types(types):
        raise click.BadParameter(f"there is no type {unknown[0]}", param_hint="--type")
    wanted = events.Wanted(
        list(types) or None, resource, after, LATEST if limit is None and after is None else limit
    )
    line = event_lines.as_json if as_json else event_lines.as_line
    with database_url(load_settings()) as url:
        try:
            events.print_events(url, project, wanted, line, follow=follow)
        except KeyboardInterrupt:
            say("")
