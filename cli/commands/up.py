"""`tandem up`: everything at once, in the foreground."""

import click

from cli.extra import needed_for


@click.command("up")
def command() -> None:
    """Start PostgreSQL and both services.

    They run in the foreground, and are restarted if they fail, until Ctrl-C.
    """
    with needed_for("`tandem up`"):
        from cli.up import up

    up()
