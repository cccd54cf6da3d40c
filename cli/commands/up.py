"""`tandem up`: everything at once, in the foreground."""

import click

from cli.extra import needed_for
from shared.settings import SERVICES, UP, setting_variables
from shared.settings.listing import listing


class WithSettings(click.Command):
    """A command whose help ends with the settings that it and the services read."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Environment"):
            formatter.write(listing(setting_variables(), (*SERVICES, UP), formatter.width))


@click.command("up", cls=WithSettings)
def command() -> None:
    """Start PostgreSQL and both services.

    They run in the foreground, and are restarted if they fail, until Ctrl-C.
    """
    with needed_for("`tandem up`"):
        from cli.up import up

    up()
