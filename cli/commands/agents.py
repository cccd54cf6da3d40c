"""`tandem agents`: who works on what."""

import sys

import click

from cli.console import say
from shared.settings import load_settings


@click.group("agents")
def command() -> None:
    """See what agents do, on the database itself."""


@command.command()
@click.argument("project")
@click.option("--once", is_flag=True, help="Show it once, instead of until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
def top(project: str, once: bool, interval: float) -> None:
    """Show the agents of PROJECT, what they hold, and what waits.

    PROJECT is a slug or an id. On anything but a terminal it is shown once.
    """
    from cli import top as view
    from cli.database import database_url

    is_shown_again = sys.stdout.isatty() and not once
    with database_url(load_settings()) as url:
        try:
            view.show_top(url, project, interval if is_shown_again else None)
        except KeyboardInterrupt:
            say("")
